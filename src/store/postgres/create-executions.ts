import { CloacinaError } from '../../core/error.ts';
import type { NewExecution } from '../transition.ts';
import { createExecutions } from '../executions/create.ts';
import type { CreatedExecution } from '../executions/create.ts';
import { createParams, createText, createdAs, isOneStatement } from './create-statement.ts';
import { isDuplicate } from './errors.ts';
import type { PostgresDriver } from './driver.ts';
import { all, run } from '../script.ts';
import type { Notice, Script } from '../script.ts';

/**
 * Creates executions, all or none. If the answer to the commit is lost, the database is asked for the result by their
 * ids: they are created once, however often the commit is retried. Throws OUTCOME_UNKNOWN if the result stays unknown
 * until the deadline.
 */
export async function createSurely(
  driver: PostgresDriver,
  creates: readonly NewExecution[],
): Promise<readonly CreatedExecution[]> {
  if (creates.length === 0) return [];
  const start = performance.now();
  for (let isUnknown = false; ;) {
    try {
      if (!isOneStatement(creates)) return await createdByScript(driver, creates);
      const { isolated } = await driver.writeOne<{ isolated: number }>(createText, createParams(creates), 'work');
      return isolated === 1 ? createdAs(creates) : await createdByScript(driver, creates);
    } catch (error) {
      const wasLost = error instanceof CloacinaError && error.code === 'OUTCOME_UNKNOWN';
      // the first attempt succeeded after all, while the next one was in progress
      if (!wasLost && !(isUnknown && isDuplicate(error))) throw isUnknown ? unknown(creates, error) : error;
      isUnknown = true;
      const made = await driver
        .write(
          () => madeBefore(creates),
          () => 'work',
        )
        .catch((cause: unknown) => {
          throw unknown(creates, cause);
        });
      if (made !== undefined) return made;
      if (performance.now() - start > driver.patienceMs) throw unknown(creates, error);
    }
  }
}

async function createdByScript(
  driver: PostgresDriver,
  creates: readonly NewExecution[],
): Promise<readonly CreatedExecution[]> {
  return driver.write(
    () => createExecutions(driver, creates),
    () => noticeOf(creates),
  );
}

/** The notice of new executions: no runner may have loaded a version that was named, since no channel points to it. */
export function noticeOf(creates: readonly NewExecution[]): Notice {
  return creates.some(({ pin, pinBy }) => pin !== null && pinBy === 'named') ? 'all' : 'work';
}

/** This transaction writes a row: only its own commit proves that the visible rows are durable. */
function* madeBefore(creates: readonly NewExecution[]): Script<readonly CreatedExecution[] | undefined> {
  const [first] = creates;
  if ((yield* run('update executions set inbox_seq = inbox_seq where id = $1', first!.id)) === 0) return undefined;
  const codes = new Map(
    (yield* all<{ id: string; build_id: string }>(
      'select id, build_id from executions where id = any (select json_array_elements_text($1::json))',
      JSON.stringify(creates.map(({ id }) => id)),
    )).map(({ id, build_id }) => [id, build_id]),
  );
  return creates.map(({ id, buildId, inputHash }) => ({
    id,
    created: true,
    buildId: codes.get(id) ?? buildId,
    inputHash,
  }));
}

function unknown(creates: readonly NewExecution[], cause: unknown): CloacinaError {
  const ids = creates.map(({ id }) => id);
  const named =
    ids.length === 1 ? `execution '${ids[0]}' was` : `${ids.length} executions, the first '${ids[0]}', were`;
  const message = `${named} sent to the database, but no answer came; look it up by this id before you start it again`;
  return new CloacinaError('OUTCOME_UNKNOWN', message, { cause });
}

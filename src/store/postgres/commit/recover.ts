import type { PoolClient } from 'pg';
import type { Batch, CommitResult, NewExecution, Transition } from '../../transition.ts';
import { takenByMail } from './offer-rows.ts';
import type { PostgresDriver } from '../driver.ts';

/** What a commit does to its result as it goes through its transitions. */
export interface CommitDraft {
  readonly lost: string[];
  readonly kept: string[];
  readonly moved: string[];
  readonly offersTaken: { readonly id: string; readonly task: string; readonly item: number }[];
}

/** What became of a batch that was written and whose answer is lost, read from what it left behind. */
export async function batchOutcome(
  driver: PostgresDriver,
  client: PoolClient,
  { runner, transitions }: Batch,
): Promise<CommitResult> {
  const draft: CommitDraft = { lost: [], kept: [], moved: [], offersTaken: [] };
  for (const transition of transitions) {
    draft.offersTaken.push(...(await takenBy(driver, client, transition)));
    const { id, create, release } = transition;
    const isOurs = await isOwned(driver, client, runner, transition);
    if (create?.followsChannel === true && (await isMoved(driver, client, create))) draft.moved.push(id);
    else if (release === null) {
      if (!isOurs && (create === null || create.owned)) draft.lost.push(id);
    } else if (isOurs) draft.kept.push(id);
    else if (!(await hasLetGo(driver, client, runner, transition))) draft.lost.push(id);
  }
  return draft;
}

async function takenBy(
  driver: PostgresDriver,
  client: PoolClient,
  transition: Transition,
): Promise<ReturnType<typeof takenByMail>> {
  if ((transition.effects?.offersWithdrawn.length ?? 0) === 0) return [];
  const text = `select payload from inbox_messages where execution_id = $1 and kind = 'helper_started'`;
  const { rows } = await driver.run<{ payload: string }>(client, text, [transition.id]);
  return takenByMail(
    transition,
    rows.map(({ payload }) => payload),
  );
}

async function isOwned(
  driver: PostgresDriver,
  client: PoolClient,
  runner: string,
  { id, epoch }: Transition,
): Promise<boolean> {
  const text = 'select 1 from executions where id = $1 and owner = $2 and epoch = $3';
  return (await driver.run(client, text, [id, runner, epoch])).rows.length > 0;
}

/** Whether it was made for another version than it was put together for. */
async function isMoved(driver: PostgresDriver, client: PoolClient, { id, buildId }: NewExecution): Promise<boolean> {
  const text = 'select build_id from executions where id = $1';
  const { rows } = await driver.run<{ build_id: string }>(client, text, [id]);
  return rows[0] !== undefined && rows[0].build_id !== buildId;
}

async function hasLetGo(
  driver: PostgresDriver,
  client: PoolClient,
  runner: string,
  { id, release }: Transition,
): Promise<boolean> {
  const { seq, type } = release!.events[0]!;
  const text = 'select 1 from events where execution_id = $1 and seq = $2 and type = $3 and runner = $4';
  return (await driver.run(client, text, [id, seq, type, runner])).rows.length > 0;
}

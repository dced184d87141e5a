import type { Claims } from '../../store/store.ts';
import type { Live } from '../execution/live.ts';
import type { Journal } from '../journal.ts';
import type { Logger } from '../logger.ts';

export interface Owned {
  readonly store: Claims;
  readonly logger: Logger;
  readonly runner: string;
  /** The executions in memory, by their ids. */
  readonly lives: ReadonlyMap<string, Live>;
  readonly journal: Journal;
}

/**
 * Compares the rows that name a runner with its memory: the answer to a claim may be lost, and an execution may be
 * taken over before a slow write. Executions in the journal are left out. No claim runs meanwhile. Returns true if
 * any execution was released: a limit may have waited for it.
 */
export async function compareOwned({ store, logger, runner, lives, journal }: Owned): Promise<boolean> {
  let released = false;
  const quiet = [...lives.values()].filter((live) => !journal.holds(live));
  const known = new Map(Array.from(lives.values(), (live) => [live.id, live.epoch]));
  const rows = await store.ownedBy(runner);
  for (const { id, epoch } of rows) {
    if (known.get(id) === epoch || lives.has(id)) continue;
    await store.releaseExecution(id, runner, epoch);
    released = true;
  }
  const owned = new Map(rows.map(({ id, epoch }) => [id, epoch]));
  for (const live of quiet) {
    const isOwned = owned.get(live.id) === live.epoch;
    if (isOwned || journal.holds(live) || lives.get(live.id) !== live) continue;
    logger.warn({ execution: live.id }, 'this runner no longer owns an execution; it is dropped from memory');
    live.abandon();
  }
  return released;
}

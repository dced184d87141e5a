import type { PoolClient } from 'pg';
import type { Batch, CommitResult, NewExecution, Transition } from '../../transition.ts';
import type { HelperStarted } from '../../sharing/offers.ts';
import { followsChannel } from '../../commit/pinned-versions.ts';
import type { PostgresDriver } from '../driver.ts';

type OfferName = CommitResult['offersTaken'][number];

/** The result of a batch that was written and whose answer was lost, read from the rows that it left. */
export async function batchOutcome(
  driver: PostgresDriver,
  client: PoolClient,
  { runner, transitions }: Batch,
): Promise<CommitResult> {
  const lost: string[] = [];
  const kept: string[] = [];
  const moved: string[] = [];
  const offersTaken: OfferName[] = [];
  for (const transition of transitions) {
    offersTaken.push(...(await takenBy(driver, client, transition)));
    const { id, create, release } = transition;
    const isOurs = await isOwned(driver, client, runner, transition);
    if (create !== null && followsChannel(create) && (await isMoved(driver, client, create))) moved.push(id);
    else if (release === null) {
      if (!isOurs && (create === null || create.owned)) lost.push(id);
    } else if (isOurs) kept.push(id);
    else if (!(await hasLetGo(driver, client, runner, transition))) lost.push(id);
  }
  return { lost, kept, moved, offersTaken };
}

async function takenBy(driver: PostgresDriver, client: PoolClient, transition: Transition): Promise<OfferName[]> {
  if ((transition.effects?.offersWithdrawn.length ?? 0) === 0) return [];
  const text = `select payload from inbox_messages where execution_id = $1 and kind = 'helper_started'`;
  const { rows } = await driver.run<{ payload: string }>(client, text, [transition.id]);
  return takenByMessage(
    transition,
    rows.map(({ payload }) => payload),
  );
}

/**
 * Of the offers that a transition was to withdraw: the ones that a helper took. Its message says so: the owner has not read
 * that, or it would not have tried to withdraw the offer, and a message that was not read is still there.
 */
function takenByMessage({ id, epoch, effects }: Transition, payloads: readonly string[]): OfferName[] {
  const taken = payloads.flatMap((payload) => (JSON.parse(payload) as HelperStarted).attempts);
  const names = new Set(taken.map((key) => `${key.task} ${key.item} ${key.epoch} ${key.attempt}`));
  const withdrawn = effects?.offersWithdrawn ?? [];
  return withdrawn
    .filter(({ task, item, attempt }) => names.has(`${task} ${item} ${epoch} ${attempt}`))
    .map(({ task, item }) => ({ id, task, item }));
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

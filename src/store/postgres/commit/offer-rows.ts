import type { TaskKey, Transition } from '../../transition.ts';
import type { HelperStarted } from '../../sharing/offers.ts';
import type { offers } from '../../tables/offers.ts';
import { Columns } from '../../tables/table.ts';

// The offers of a batch, as parts of the statement that commits it.

/** Names an offer. */
interface OfferKeyRow extends TaskKey {
  readonly executionId: string;
}

export const offerKeys: Columns<OfferKeyRow> = new Columns<OfferKeyRow>({
  executionId: 'text',
  task: 'text',
  item: 'int',
});

export function offerRows(transitions: readonly Transition[]): ReturnType<typeof offers.record>[] {
  return transitions.flatMap(({ id, epoch, effects }) =>
    (effects?.offers ?? []).map((offer) => ({ executionId: id, epoch, ...offer })),
  );
}

export function endedOfferRows(transitions: readonly Transition[]): OfferKeyRow[] {
  return transitions.flatMap(({ id, effects }) => keyRows(id, effects?.offersEnded ?? []));
}

export function withdrawnOfferRows(transitions: readonly Transition[]): OfferKeyRow[] {
  return transitions.flatMap(({ id, effects }) => keyRows(id, effects?.offersWithdrawn ?? []));
}

function keyRows(id: string, keys: readonly TaskKey[]): OfferKeyRow[] {
  return keys.map(({ task, item }) => ({ executionId: id, task, item }));
}

/** Removes the offers that rows `r` name. */
export function removeOffers(from: string, isLive: string): string {
  return `delete from offers using ${from} where offers.execution_id = r.execution_id and offers.task = r.task and offers.item = r.item and ${isLive}`;
}

export type OfferKey = TaskKey & { readonly id: string };

/** Of the offers that a batch was to take back: those that did not come back, and so are a helper's. */
export function takenOf(transitions: readonly Transition[], back: readonly OfferKey[]): OfferKey[] {
  const isBack = new Set(back.map(({ id, task, item }) => `${id} ${task} ${item}`));
  return transitions.flatMap(({ id, effects }) =>
    (effects?.offersWithdrawn ?? []).flatMap(({ task, item }) =>
      isBack.has(`${id} ${task} ${item}`) ? [] : [{ id, task, item }],
    ),
  );
}

/**
 * The same where the answer is lost, from the mail that a helper sent when it took one: the owner has not read that, or it
 * would not have tried to take the offer back; and what it has not read is still there.
 */
export function takenByMail({ id, epoch, effects }: Transition, payloads: readonly string[]): OfferKey[] {
  const taken = payloads.flatMap((payload) => (JSON.parse(payload) as HelperStarted).attempts);
  const names = new Set(taken.map((key) => `${key.task} ${key.item} ${key.epoch} ${key.attempt}`));
  const isTaken = ({ task, item, attempt }: { task: string; item: number; attempt: number }): boolean =>
    names.has(`${task} ${item} ${epoch} ${attempt}`);
  return (effects?.offersWithdrawn ?? []).filter(isTaken).map(({ task, item }) => ({ id, task, item }));
}

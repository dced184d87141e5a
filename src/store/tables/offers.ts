import type { NewOffer } from '../transition.ts';
import { Table } from './table.ts';

/** An offer with its execution and the epoch of the owner that made it. */
export type NewOfferRow = { readonly executionId: string; readonly epoch: number } & NewOffer;

/** A new offer; `helper` and `taken_at` are null until a helper takes it. */
export const offers: Table<NewOfferRow> = new Table<NewOfferRow>('offers', ['execution_id', 'task', 'item'], {
  executionId: 'text',
  task: 'text',
  item: 'int',
  epoch: 'int',
  attempt: 'int',
  buildId: 'text',
  queue: 'text',
  priority: 'int',
  isPoisonSuspect: ['flag', 'poison_suspect'],
  at: ['bigint', 'offered_at'],
});

/** A new offer replaces that of an earlier epoch or attempt, taken or not. */
export const offerOverwrite: string = `${offers.overwrite}, helper = null, taken_at = null`;

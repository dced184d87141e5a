import { queueOf } from '../../core/definition/graph.ts';
import type { TaskKey } from '../../store/transition.ts';
import type { HelperResult, AttemptKey, HelperLost, InboxMessage, HelperStarted } from '../../store/store.ts';
import type { AttemptEnd } from '../execution/attempt.ts';
import type { Clock } from '../clock.ts';
import type { LiveState } from '../execution/live-state.ts';
import type { Logger } from '../logger.ts';
import type { OfferBudget } from './offer-budget.ts';
import type { RunOffer, TaskRun } from '../execution/task-run.ts';

export interface OwnerOffersOptions {
  readonly state: LiveState;
  readonly offers: OfferBudget;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What can run the execution. */
  readonly buildId: string;
  readonly attempts: {
    /** The next attempt may be asked for again. */
    begin(run: TaskRun): void;
    /** It has no use for a slot of its own any more. */
    withdraw(run: TaskRun): void;
    /** A helper has begun with the next attempt. */
    begun(run: TaskRun, at: number, helper: string): void;
    ended(run: TaskRun, end: AttemptEnd): void;
    /** The helper died. */
    lost(run: TaskRun): void;
    /** A helper had begun with an attempt before this runner took the execution up. */
    cut(run: TaskRun): void;
    changed(): void;
  };
}

/** The attempts of one live execution that other runners may take, have taken, and answer for. */
export class OwnerOffers {
  readonly #options: OwnerOffersOptions;
  readonly #state: LiveState;

  constructor(options: OwnerOffersOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  /** An attempt waits for a slot, here or at a runner that serves its queue. */
  wait(run: TaskRun, isSuspect: boolean): void {
    const { offers, buildId } = this.#options;
    // what may run once is not put at the risk of another process, and some tasks only their owner can end
    const staysHere = run.spec.retry?.attempts === 1 || offers.keeps(buildId, run.spec.name);
    if (staysHere && offers.serves(queueOf(run.spec))) return;
    offers.wait(run, () => this.#state.guard(() => this.#offer(run, isSuspect)));
  }

  leave(run: TaskRun): void {
    this.#options.offers.leave(run);
  }

  #offer(run: TaskRun, isPoisonSuspect: boolean): void {
    if (this.#state.still || run.offer !== undefined || run.slot === undefined) return;
    const { clock, offers, buildId, attempts } = this.#options;
    const queue = queueOf(run.spec);
    const attempt = run.attempt + 1;
    const { priority } = this.#state.head;
    const row = {
      task: run.spec.name,
      item: run.item,
      attempt,
      buildId,
      queue,
      priority,
      isPoisonSuspect,
      at: clock.now(),
    };
    run.offer = { row, taken: false, withdrawing: false, onKnown: undefined };
    offers.opened(queue);
    this.#state.busy++;
    this.#state.draft.effects.offers.push(row);
    // it is there to be seen, and that it waits
    if (run.item === -1) this.#state.draft.task(run);
    attempts.changed();
  }

  /** Takes an offer back, unless a helper has it: which is known once that is durable, and then told to `onKnown`. */
  takeBack(run: TaskRun, onKnown?: (isBack: boolean) => void): void {
    const offer = run.offer;
    if (offer === undefined) return;
    offer.onKnown = onKnown ?? offer.onKnown;
    if (offer.taken) {
      told(offer, false);
    } else if (this.#state.draft.withdrawOffer(offer.row)) {
      // it has not been said to anybody yet
      this.#over(run, offer);
      told(offer, true);
    } else if (!offer.withdrawing) {
      offer.withdrawing = true;
      this.#state.draft.effects.offersWithdrawn.push(offer.row);
    }
    this.#options.attempts.changed();
  }

  /** The database has said which of the offers that were to be taken back are a helper's. */
  withdrawn(keys: readonly TaskKey[], taken: readonly TaskKey[]): void {
    const { offers, attempts } = this.#options;
    for (const key of keys) {
      const run = this.#find(key);
      const offer = run?.offer;
      if (run === undefined || offer === undefined || offer.row !== key || !offer.withdrawing) continue;
      offer.withdrawing = false;
      if (taken.some(({ task, item }) => task === key.task && item === key.item)) {
        if (!offer.taken) offers.took(offer.row.queue);
        offer.taken = true;
        attempts.withdraw(run);
        told(offer, false);
        if (this.#state.holding === 'release') this.#cut(run);
        continue;
      }
      this.#over(run, offer);
      if (offer.onKnown !== undefined) told(offer, true);
      else if (!this.#state.still && run.status === 'pending') attempts.begin(run);
    }
    if (keys.length > 0) attempts.changed();
  }

  /** Nothing begins any more; with `abort` what helpers run is cut short too. */
  hold(run: TaskRun, abort: boolean): void {
    if (run.offer === undefined) return;
    if (!run.offer.taken) this.takeBack(run);
    else if (abort) this.#cut(run);
  }

  /** An offer is over, whoever has it: its answer is not waited for. */
  revoke(run: TaskRun): void {
    const offer = run.offer;
    if (offer === undefined) return;
    const { draft } = this.#state;
    if (!draft.withdrawOffer(offer.row)) {
      draft.effects.offersEnded.push(offer.row);
      // a helper may have begun with it, and this number is used up then
      run.attempt = Math.max(run.attempt, offer.row.attempt);
      draft.task(run);
    }
    this.#over(run, offer);
    told(offer, false);
  }

  /** The execution is not owned here any more. */
  forget(run: TaskRun): void {
    const offer = run.offer;
    if (offer !== undefined) this.#over(run, offer);
  }

  /** Mail of helpers. Only what names the attempt that is waited for is taken. */
  read(mail: InboxMessage): void {
    const said: unknown = JSON.parse(mail.payload!);
    if (mail.kind === 'helper_started') this.#taken(said as HelperStarted);
    else if (mail.kind === 'helper_result') this.#answered(said as HelperResult);
    else this.#lost(said as HelperLost);
  }

  #taken({ helper, at, attempts: list }: HelperStarted): void {
    const { offers, attempts } = this.#options;
    for (const key of list) {
      const run = this.#find(key);
      if (run !== undefined && key.epoch !== this.#state.head.epoch) {
        this.#takenBefore(run, key, at, helper);
        continue;
      }
      const offer = this.#waitedFor(run, key, 'pending');
      if (run === undefined || offer === undefined) continue;
      if (!offer.taken) offers.took(offer.row.queue);
      offer.taken = true;
      attempts.withdraw(run);
      run.isPoisonSuspect ||= key.suspect;
      attempts.begun(run, at, helper);
    }
  }

  /** What an owner before did not come to read: the attempt had begun, and was cut with that owner. */
  #takenBefore(run: TaskRun, { attempt }: AttemptKey, at: number, helper: string): void {
    if (run.status !== 'pending' || run.attempt + 1 !== attempt) return;
    this.#options.attempts.begun(run, at, helper);
    this.#options.attempts.cut(run);
  }

  #answered({ answers }: HelperResult): void {
    for (const { key, end } of answers) {
      const run = this.#find(key);
      const offer = this.#waitedFor(run, key, 'running');
      if (run === undefined || offer === undefined) continue;
      this.#over(run, offer);
      told(offer, false);
      this.#options.attempts.ended(run, this.#judged(run, end as AttemptEnd));
    }
  }

  /** What only its owner could do runs here from now on, where that serves the queue; the attempt counts as cut. */
  #judged(run: TaskRun, end: AttemptEnd): AttemptEnd {
    const { offers, buildId } = this.#options;
    const needsOwner = end.status === 'failed' && end.error.code === 'TRANSACTION_UNAVAILABLE';
    if (!needsOwner || !offers.serves(queueOf(run.spec))) return end;
    offers.keep(buildId, run.spec.name);
    return { status: 'aborted', reason: 'shutdown' };
  }

  #lost({ attempts }: HelperLost): void {
    for (const key of attempts) {
      const run = this.#find(key);
      const offer = this.#waitedFor(run, key, 'running');
      if (run === undefined || offer === undefined) continue;
      this.#over(run, offer);
      told(offer, false);
      this.#options.attempts.lost(run);
    }
  }

  /** The offer of an attempt, if that is the one that the execution waits for. */
  #waitedFor(run: TaskRun | undefined, key: AttemptKey, status: TaskRun['status']): RunOffer | undefined {
    const offer = run?.offer;
    const isIt = key.epoch === this.#state.head.epoch && offer?.row.attempt === key.attempt && run?.status === status;
    if (isIt) return offer;
    const { task, item, attempt } = key;
    this.#options.logger.debug({ execution: this.#state.id, task, item, attempt }, 'a late answer was dropped');
    return undefined;
  }

  /** The attempt at a helper counts as cut by the close of a runner. */
  #cut(run: TaskRun): void {
    this.revoke(run);
    this.#options.attempts.ended(run, { status: 'aborted', reason: 'shutdown' });
  }

  #over(run: TaskRun, offer: RunOffer): void {
    run.offer = undefined;
    this.#state.busy--;
    this.#options.offers.over(offer.row.queue, offer.taken);
  }

  #find({ task, item }: TaskKey): TaskRun | undefined {
    const index = this.#state.graph.indexOf.get(task);
    if (index === undefined) return undefined;
    return item === -1 ? this.#state.runs[index] : this.#state.maps?.get(index)?.items[item];
  }
}

function told(offer: RunOffer, isBack: boolean): void {
  const { onKnown } = offer;
  offer.onKnown = undefined;
  onKnown?.(isBack);
}

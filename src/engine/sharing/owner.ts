import { queueOf } from '../../core/definition/graph.ts';
import { storedJson } from '../../core/json.ts';
import type { TaskKey } from '../../store/transition.ts';
import type { HelperResult, AttemptKey, HelperLost, InboxMessage, HelperStarted } from '../../store/store.ts';
import type { AttemptEnd } from '../execution/attempt.ts';
import type { Clock } from '../clock.ts';
import type { LiveState } from '../execution/live-state.ts';
import type { Logger } from '../logger.ts';
import type { OfferBudget } from './offer-budget.ts';
import { idle } from '../execution/phase.ts';
import type { RunOffer } from '../execution/phase.ts';
import { isOver } from '../execution/task-run.ts';
import type { TaskRun } from '../execution/task-run.ts';

export interface OwnerOffersOptions {
  readonly state: LiveState;
  readonly offers: OfferBudget;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The build that can run the execution. */
  readonly buildId: string;
  readonly attempts: {
    /** Asks for a slot for the next attempt. */
    begin(run: TaskRun): void;
    /** The offer is withdrawn: the next attempt begins in the slot that it has here. */
    startHere(run: TaskRun): void;
    /** A helper has begun with the next attempt; whether that start charges it. */
    begun(run: TaskRun, at: number, data: { readonly helper: string }): boolean;
    ended(run: TaskRun, end: AttemptEnd): void;
    /** The helper died. */
    lost(run: TaskRun): void;
    /** A helper had begun with an attempt before this runner took the execution up. */
    cut(run: TaskRun): void;
  };
}

/** The attempts of one live execution that are offered to other runners, and the answers of these. */
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
    // an only attempt is not exposed to the crash of another process; some tasks can end only at their owner
    const staysHere = run.spec.retry?.attempts === 1 || offers.keeps(buildId, run.spec.name);
    if (staysHere && offers.serves(queueOf(run.spec))) return;
    offers.wait(run, () => this.#state.guard(() => this.#offer(run, isSuspect)));
  }

  #offer(run: TaskRun, isPoisonSuspect: boolean): void {
    const { phase } = run;
    if (this.#state.still || phase.is !== 'queued') return;
    const { clock, buildId } = this.#options;
    const { priority } = this.#state.head;
    const row = {
      task: run.spec.name,
      item: run.item,
      attempt: run.attempt + 1,
      buildId,
      queue: queueOf(run.spec),
      priority,
      isPoisonSuspect,
      at: clock.now(),
    };
    const offer = { row, taken: false, withdrawing: false };
    this.#state.move(run, { is: 'offered', offer, request: phase.request, hasSlot: false, charged: false });
    this.#state.draft.effects.offers.push(row);
    // a row of the task that says that it is pending
    if (run.item === -1) this.#state.draft.task(run);
  }

  /** Withdraws an offer. If the database knows of it, the commit of the withdrawal tells whether a helper was quicker. */
  takeBack(run: TaskRun): void {
    const offer = offerOf(run);
    if (offer === undefined) return;
    const { draft } = this.#state;
    if (offer.taken) {
      this.#helperHas(run, offer);
    } else if (draft.withdrawOffer(offer.row)) {
      this.#isBack(run);
    } else if (!offer.withdrawing) {
      offer.withdrawing = true;
      draft.effects.offersWithdrawn.push(offer.row);
    }
  }

  /** Withdrawals are durable, except of the offers that helpers have taken. */
  withdrawn(keys: readonly TaskKey[], taken: readonly TaskKey[]): void {
    for (const key of keys) {
      const run = this.#find(key);
      const offer = offerOf(run);
      if (run === undefined || offer?.row !== key || !offer.withdrawing) continue;
      offer.withdrawing = false;
      if (taken.some(({ task, item }) => task === key.task && item === key.item)) {
        this.#helperHas(run, offer);
        if (this.#state.holding === 'release') this.#cut(run, offer);
      } else {
        this.#isBack(run);
      }
    }
  }

  /** A helper has the offer: the attempt needs no slot here. */
  #helperHas(run: TaskRun, offer: RunOffer): void {
    if (run.phase.is !== 'offered') return;
    if (!offer.taken) this.#options.offers.took(offer.row.queue);
    offer.taken = true;
    this.#state.move(run, { ...run.phase, request: undefined, hasSlot: false });
  }

  /** No helper can take the offer: the attempt begins here, in its slot if it has one. */
  #isBack(run: TaskRun): void {
    const { attempts } = this.#options;
    const { phase } = run;
    if (phase.is === 'offered' && phase.hasSlot && !isOver(this.#state, run)) {
      attempts.startHere(run);
      return;
    }
    this.#state.move(run, idle);
    if (run.status === 'pending') attempts.begin(run);
  }

  /** Nothing begins from now on; with `abort`, attempts at helpers are cut short. */
  hold(run: TaskRun, abort: boolean): void {
    const { phase } = run;
    if (phase.is !== 'offered') return;
    const { offer } = phase;
    if (!offer.taken) {
      this.#state.move(run, { ...phase, request: undefined, hasSlot: false });
      this.takeBack(run);
    } else if (abort) {
      this.#cut(run, offer);
    }
  }

  /** Ends an offer even if a helper has it: its answer will be dropped. */
  revoke(run: TaskRun): void {
    const offer = offerOf(run);
    if (offer !== undefined) this.#end(run, offer);
  }

  #end(run: TaskRun, { row }: RunOffer): void {
    const { draft } = this.#state;
    if (draft.withdrawOffer(row)) return;
    draft.effects.offersEnded.push(row);
    // a helper may have begun with this attempt: its number is not used again
    run.attempt = Math.max(run.attempt, row.attempt);
    draft.task(run);
  }

  /** Reads a message of a helper. A message that names another attempt than the current one is dropped. */
  read(message: InboxMessage): void {
    const said: unknown = storedJson(message.payload!, `message ${message.n} of execution ${this.#state.head.id}`);
    if (message.kind === 'helper_started') this.#taken(said as HelperStarted);
    else if (message.kind === 'helper_result') this.#answered(said as HelperResult);
    else this.#lost(said as HelperLost);
  }

  #taken({ helper, at, attempts: list }: HelperStarted): void {
    for (const key of list) {
      const run = this.#find(key);
      if (run !== undefined && key.epoch !== this.#state.head.epoch) {
        this.#takenBefore(run, key, at, helper);
        continue;
      }
      const offer = this.#waitedFor(run, key, 'pending');
      if (run === undefined || offer === undefined) continue;
      this.#helperHas(run, offer);
      run.isPoisonSuspect ||= key.suspect;
      const charged = this.#options.attempts.begun(run, at, { helper });
      if (run.phase.is === 'offered') this.#state.move(run, { ...run.phase, charged });
    }
  }

  /** An earlier owner crashed before it read this: the attempt had begun, and was cut with that owner. */
  #takenBefore(run: TaskRun, { attempt }: AttemptKey, at: number, helper: string): void {
    if (run.status !== 'pending' || run.attempt + 1 !== attempt) return;
    this.#options.attempts.begun(run, at, { helper });
    this.#options.attempts.cut(run);
  }

  #answered({ answers }: HelperResult): void {
    for (const { key, end } of answers) {
      const run = this.#find(key);
      const offer = this.#waitedFor(run, key, 'running');
      if (run === undefined || offer === undefined) continue;
      this.#options.attempts.ended(run, this.#judged(run, end as AttemptEnd));
    }
  }

  /** A task that only its owner can end runs here from now on, if this runner serves its queue; the attempt counts as cut. */
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
      this.#options.attempts.lost(run);
    }
  }

  /** The offer of an attempt, if that attempt is the current one. */
  #waitedFor(run: TaskRun | undefined, key: AttemptKey, status: TaskRun['status']): RunOffer | undefined {
    const offer = offerOf(run);
    const isIt = key.epoch === this.#state.head.epoch && offer?.row.attempt === key.attempt && run?.status === status;
    if (isIt) return offer;
    const { task, item, attempt } = key;
    this.#options.logger.debug({ execution: this.#state.id, task, item, attempt }, 'a late answer was dropped');
    return undefined;
  }

  /** The attempt at a helper counts as ended by the close of a runner. */
  #cut(run: TaskRun, offer: RunOffer): void {
    this.#end(run, offer);
    this.#options.attempts.ended(run, { status: 'aborted', reason: 'shutdown' });
  }

  #find({ task, item }: TaskKey): TaskRun | undefined {
    const index = this.#state.graph.indexOf.get(task);
    if (index === undefined) return undefined;
    return item === -1 ? this.#state.runs[index] : this.#state.maps?.get(index)?.items[item];
  }
}

function offerOf(run: TaskRun | undefined): RunOffer | undefined {
  return run?.phase.is === 'offered' ? run.phase.offer : undefined;
}

import { maxLogLines } from '../../core/foreign/log-data.ts';
import type { Reads, Help, Sharing, TakenOffer } from '../../store/store.ts';
import { CloacinaError } from '../../core/error.ts';
import { toTaskError } from '../../core/foreign/thrown.ts';
import { cleanText } from '../../core/text.ts';
import { Attempt } from '../execution/attempt.ts';
import { takeTurn } from '../poison-suspects.ts';
import type { AbortReason, AttemptEnd } from '../execution/attempt.ts';
import type { Catalog, LoadedWorkflow } from '../catalog.ts';
import type { Clock } from '../clock.ts';
import type { TaskCall } from '../workflow-code.ts';
import { HelperJournal } from './helper-journal.ts';
import type { Logger } from '../logger.ts';
import type { SlotRequest, Slots } from '../slots.ts';
import { taskCall } from '../execution/task-call.ts';
import { newTaskRun, restoreTaskRun } from '../execution/task-run.ts';

export interface HelperOptions {
  readonly store: Sharing & Reads;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly catalog: Catalog;
  readonly slots: Slots;
  readonly suspects: Slots;
  readonly queues: readonly string[];
  readonly graceMs: number;
  readonly maxPayload: number;
  /** Whether an offer may be taken now. */
  readonly mayHelp: () => boolean;
  readonly onRun: (call: TaskCall) => (() => void) | undefined;
  readonly onProgress: (id: string, task: string, done: number, text: string | null) => void;
  /** A slot has come free: there may be more to take. */
  readonly onFree: () => void;
}

const transactionMessage =
  'ctx.transaction: another runner owns the execution, and only the owner can commit a task with its writes; let the owner serve the queue';

/** An attempt of another runner's execution that this one has taken. */
interface Helped {
  readonly offer: TakenOffer;
  /** The slot, or the turn of a poison suspect, that it waits for. */
  request: SlotRequest | undefined;
  attempt: Attempt | undefined;
  /** Why it is ended from outside. */
  reason: AbortReason | undefined;
  /** Its answer is on its way, or is not wanted. */
  over: boolean;
  /** Ends the turn of a poison suspect. */
  endTurn: (() => void) | undefined;
  /** The database refuses something that the attempt stores. */
  refusal: CloacinaError | undefined;
}

/** The code and the data for an attempt. */
interface Work {
  readonly loaded: LoadedWorkflow;
  readonly help: Help;
  /** The item as JSON text; null of a task that is no map. */
  readonly value: string | null;
}

/** The work of this runner for others: it takes attempts that they offer while it has free slots, runs them, and answers. */
export class Helper {
  readonly #options: HelperOptions;
  readonly #runner: string;
  readonly #journal: HelperJournal;
  readonly #held = new Map<string, Helped>();
  /** Rows may name this runner without its knowledge: the answer to a take was lost, or the step after it failed. */
  #unsure = false;
  #onEmpty: (() => void) | undefined;
  #gone = false;

  constructor(options: HelperOptions, runner: string) {
    this.#options = options;
    this.#runner = runner;
    this.#journal = new HelperJournal({ ...options, runner });
  }

  /** Attempts that it has. */
  get size(): number {
    return this.#held.size;
  }

  /** Takes offers while there are free slots, and ends attempts that are no longer wanted. */
  async poll(): Promise<void> {
    if (this.#gone) return;
    const { store, slots, suspects, catalog, queues, clock, mayHelp } = this.#options;
    if (mayHelp() && slots.free > 0) {
      const wanted = { buildIds: catalog.buildIds(), queues, mayTakeSuspects: suspects.free > 0 };
      if (await store.helpWanted(wanted)) {
        this.#unsure = true;
        await store.takeOffers({ ...wanted, runner: this.#runner, limit: slots.free, now: clock.now() });
      }
    }
    if (this.#unsure || this.#held.size > 0) await this.#compare();
  }

  /** Compares the rows that name this runner with its memory. The rows decide which attempts it has. */
  async #compare(): Promise<void> {
    // from before the read: an attempt that ended meanwhile must not count as new
    const before = new Map(this.#held);
    const rows = await this.#options.store.takenOffers(this.#runner);
    if (this.#gone) return;
    const keys = new Set(rows.map(keyOf));
    const fresh = rows.filter((row) => !before.has(keyOf(row)) && !this.#held.has(keyOf(row)));
    for (const row of rows) if (!row.valid) this.#discard(row);
    for (const [key, helped] of before) if (!keys.has(key)) await this.#end(helped);
    let unsure = false;
    for (const [id, list] of Map.groupBy(
      fresh.filter(({ valid }) => valid),
      ({ executionId }) => executionId,
    )) {
      // of one that did not begin the next look at the rows tells why: its execution ended, or has another owner
      if (!(await this.#begin(id, list))) unsure = true;
    }
    this.#unsure = unsure;
  }

  /** Returns false if an attempt did not begin, since its offer was gone or void by then. */
  async #begin(id: string, offers: readonly TakenOffer[]): Promise<boolean> {
    const { catalog, store } = this.#options;
    const [{ tenant, buildId, workflow }] = offers as [TakenOffer];
    const loaded = catalog.find(buildId, workflow, tenant);
    if (loaded === undefined) {
      // unloaded since it was taken
      for (const offer of offers) this.#answer(this.#hold(offer), { status: 'aborted', reason: 'shutdown' });
      return true;
    }
    const { graph } = loaded;
    const needs = offers.flatMap(({ task }) => graph.needs[graph.indexOf.get(task)!]!.map((need) => need.task));
    const names = Array.from(new Set(needs), (index) => graph.names[index]!);
    const help = await store.helpFor(id, this.#runner, names);
    if (help === undefined || this.#gone) return false;
    const values = new Map(help.held.map(({ value, ...key }) => [keyOf({ executionId: id, ...key }), value]));
    let all = true;
    for (const offer of offers) {
      const value = values.get(keyOf(offer));
      if (value === undefined) all = false;
      else this.#request(this.#hold(offer), { loaded, help, value });
    }
    return all;
  }

  #hold(offer: TakenOffer): Helped {
    const helped: Helped = {
      offer,
      request: undefined,
      attempt: undefined,
      reason: undefined,
      over: false,
      endTurn: undefined,
      refusal: undefined,
    };
    this.#held.set(keyOf(offer), helped);
    return helped;
  }

  /** Begins as soon as there is a slot: this runner's own tasks may have been quicker. */
  #request(helped: Helped, work: Work): void {
    const { slots, suspects } = this.#options;
    const { priority, tenant, isPoisonSuspect } = helped.offer;
    const ask = (): void => {
      helped.request = slots.request(priority, tenant, () => this.#start(helped, work));
    };
    if (!isPoisonSuspect) {
      ask();
      return;
    }
    const turn = suspects.request(priority, tenant, () => {
      helped.endTurn = takeTurn(this.#options);
      ask();
    });
    if (turn !== undefined) helped.request = turn;
  }

  #start(helped: Helped, work: Work): void {
    helped.request = undefined;
    const { loaded } = work;
    const { slots, clock, graceMs, onRun, onFree } = this.#options;
    const { offer } = helped;
    const index = loaded.graph.indexOf.get(offer.task)!;
    const attempt: Attempt = new Attempt({
      code: loaded.code,
      call: this.#call(offer, work),
      timeoutMs: loaded.graph.spec.tasks[index]!.timeout,
      graceMs,
      clock,
      onRun,
      host: this.#taskHost(helped),
      onEnd: (end) => {
        helped.endTurn?.();
        try {
          this.#ended(helped, end);
        } finally {
          slots.release();
          onFree();
        }
      },
    });
    helped.attempt = attempt;
    attempt.start();
  }

  #call(offer: TakenOffer, { loaded: { graph }, help: { execution, tasks }, value }: Work): TaskCall {
    const index = graph.indexOf.get(offer.task)!;
    const runs = tasks.flatMap((state) => {
      const at = graph.indexOf.get(state.task);
      return at === undefined ? [] : [restoreTaskRun(at, graph.spec.tasks[at]!, state)];
    });
    const run = { ...newTaskRun(index, graph.spec.tasks[index]!), item: offer.item, value, attempt: offer.attempt };
    const byPlace: (typeof run | undefined)[] = [];
    for (const need of runs) byPlace[need.index] = need;
    const { id, input, schedule } = execution;
    const { maxPayload } = this.#options;
    const head = { id, epoch: offer.epoch, input, schedule };
    return taskCall({ graph, head, run, runs: byPlace, maxPayload, alone: offer.isPoisonSuspect });
  }

  #taskHost(helped: Helped): ConstructorParameters<typeof Attempt>[0]['host'] {
    const { store, clock, onProgress } = this.#options;
    const { offer } = helped;
    const { executionId, task, item, attempt } = offer;
    // nothing can be remembered of a task execution in its first attempt but what that attempt itself has done
    let remembers = attempt > 1;
    let lines = 0;
    return {
      stepResult: (name) => (remembers ? store.step(executionId, task, item, name) : Promise.resolve(undefined)),
      saveStep: (name, output) => {
        remembers = true;
        return this.#orRefused(helped, this.#journal.step(offer, { name, output }));
      },
      transaction: () => Promise.reject(new CloacinaError('TRANSACTION_UNAVAILABLE', transactionMessage)),
      log: (level, text, data) => {
        if (lines >= maxLogLines) return;
        const line = { n: ++lines, at: clock.now(), level, message: cleanText(text), data };
        this.#orRefused(helped, this.#journal.log(offer, line)).catch(() => undefined);
      },
      progress: (done, text) => onProgress(executionId, task, done, text),
    };
  }

  /** An attempt fails if the database refuses something of it, even where its function goes on without that. */
  async #orRefused(helped: Helped, written: Promise<void>): Promise<void> {
    try {
      await written;
    } catch (error) {
      if (error instanceof CloacinaError) helped.refusal = error;
      throw error;
    }
  }

  #ended(helped: Helped, end: AttemptEnd): void {
    const wanted = helped.reason === undefined || helped.reason === 'shutdown' || end.status !== 'aborted';
    if (helped.over) return;
    if (wanted) this.#answer(helped, end);
    else this.#drop(helped);
  }

  #answer(helped: Helped, end: AttemptEnd): void {
    helped.over = true;
    void this.#answered(helped, end);
  }

  async #answered(helped: Helped, end: AttemptEnd): Promise<void> {
    const { offer, refusal } = helped;
    const { executionId, task } = offer;
    const wanted = await this.#journal
      .answer(offer, refusal === undefined ? end : refusedEnd(refusal))
      .catch((error: unknown) => this.#journal.answer(offer, refusedEnd(error)))
      // the text of the error may repeat what the database refuses
      .catch(() => this.#journal.answer(offer, refusedEnd(plainRefusal)))
      .catch(() => false);
    if (!wanted) this.#options.logger.debug({ execution: executionId, task }, 'a late answer was dropped');
    this.#drop(helped);
  }

  /** An offer that is void: its execution has another owner. */
  #discard(offer: TakenOffer): void {
    const known = this.#held.get(keyOf(offer));
    const helped = known ?? this.#hold(offer);
    this.#abort(helped, reasonOf(offer.status, true));
    if (known === undefined) this.#answer(helped, { status: 'aborted', reason: 'lease_lost' });
  }

  /** The offer is gone: the owner of the execution no longer waits for the answer. */
  async #end(helped: Helped): Promise<void> {
    if (helped.over || helped.reason !== undefined) return;
    const { executionId, epoch } = helped.offer;
    const record = await this.#options.store.execution(executionId);
    const isReleased = record?.endedAt === null && record.owner === null;
    this.#abort(helped, reasonOf(record?.status ?? null, record?.epoch !== epoch || isReleased));
  }

  #abort(helped: Helped, reason: AbortReason): void {
    if (helped.over || helped.reason !== undefined) return;
    helped.reason = reason;
    if (helped.attempt !== undefined) {
      helped.attempt.abort(reason);
      return;
    }
    if (helped.request !== undefined) helped.request.cancelled = true;
    helped.endTurn?.();
    // it has not begun: if it is still wanted, another runner may take it
    if (reason === 'shutdown') this.#answer(helped, { status: 'aborted', reason });
    else this.#drop(helped);
  }

  #drop(helped: Helped): void {
    helped.over = true;
    const key = keyOf(helped.offer);
    if (this.#held.get(key) === helped) this.#held.delete(key);
    if (this.#held.size === 0) this.#onEmpty?.();
  }

  /** Ends what runs, and resolves once the owners know, or after `limitMs`. */
  async close(limitMs: number): Promise<void> {
    for (const helped of this.#held.values()) this.#abort(helped, 'shutdown');
    if (this.#held.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onEmpty = resolve;
      const timer = this.#options.clock.timer(limitMs, () => {
        const { logger } = this.#options;
        logger.error(
          { attempts: this.#held.size },
          'attempts for other runners could not be returned; their owners will take them back',
        );
        resolve();
      });
      await promise;
      timer.cancel();
    }
    this.abandon();
  }

  /** This runner is dead, or at rest: its attempts no longer count. */
  abandon(): void {
    this.#gone = true;
    this.#journal.close();
    for (const helped of this.#held.values()) this.#abort(helped, 'lease_lost');
  }
}

type OfferKey = Pick<TakenOffer, 'executionId' | 'task' | 'item' | 'epoch' | 'attempt'>;

function keyOf({ executionId, task, item, epoch, attempt }: OfferKey): string {
  return `${executionId} ${task} ${item} ${epoch} ${attempt}`;
}

/** The reason why an attempt is no longer wanted, from the state of its execution. */
function reasonOf(status: TakenOffer['status'], isOthers: boolean): AbortReason {
  if (status === 'cancelled') return 'cancel';
  if (isOthers) return 'lease_lost';
  return status === 'failed' ? 'fail_fast' : 'cancel';
}

/** The refusal of an attempt for which the database refuses the text of its own error as well. */
const plainRefusal = new CloacinaError(
  'STORE_REFUSED',
  'the database refuses what the attempt stores, and the text of its own error; the log of the runner has it',
);

/** The end of an attempt of which the database refuses something: another attempt would store the same. */
function refusedEnd(refusal: unknown): AttemptEnd {
  return { status: 'failed', error: toTaskError(refusal), retryable: false, retryAfter: null };
}

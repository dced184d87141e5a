import { dueSlots } from '../core/schedule/rule.ts';
import type { Clock, Timer } from '../engine/clock.ts';
import type { Logger } from '../engine/logger.ts';
import type { ResolvedWorkflow } from '../engine/client/start.ts';
import { dueSchedules, freedSchedules, lockDue, nextDue, postponeSchedule } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Dialect, Script } from '../store/script.ts';
import type { Store } from '../store/store.ts';
import { fireSchedule, ruleOf } from './fire.ts';
import { Starts, holdStarts } from './start.ts';
import type { Start } from './start.ts';

export interface ScheduleLoopOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly maxPayload: number;
  /** The tenants whose schedules it fires; null: all. */
  readonly tenants: readonly string[] | null;
  readonly resolve: (tenant: string, workflow: string) => Promise<ResolvedWorkflow>;
  /** Called when executions were started or cancelled, for runners of this process to look. */
  readonly notify: () => void;
  /** How long it does not look where nobody wakes it; default a minute. */
  readonly sleepMs?: number;
}

/** Sleeps longer than this are set again: a machine that slept, or a clock that was set, is noticed by then. */
const longestSleepMs = 60_000;
const longestSleepAloneMs = 3_600_000;
/** How often a buffered slot asks whether it may start, where no sign of it came. */
const bufferedLookMs = 1000;
const retryMs = 1000;
/** What a schedule starts must be known within this time. */
const startMs = 10_000;
/** Due schedules read at once, and fired by one transaction: short enough that others get the writer in between. */
const readLimit = 500;
const batchLimit = 100;
/** Where the same schedules are due still, another runner holds them: it is asked again after this. */
const heldMs = 20;
/** How long a schedule is put off that this runner cannot judge; no slot of it is lost. */
const postponeMs = 60_000;

interface Ready {
  readonly record: ScheduleRecord;
  readonly start: Start;
}

interface FiredBatch {
  readonly fired: number;
  readonly acted: number;
  readonly failures: readonly { readonly record: ScheduleRecord; readonly error: string }[];
}

/**
 * Fires due schedules. Any number of loops may run on one database: each slot is fired by the one that holds the
 * schedule's row, whole or not at all. It begins at once; `wake()` tells it that something changed.
 */
export class ScheduleLoop {
  readonly #options: ScheduleLoopOptions;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #closed = false;
  /** Ends what would hold up a close. */
  readonly #closing = Promise.withResolvers<Start>();
  #buffered = false;

  constructor(options: ScheduleLoopOptions) {
    this.#options = options;
    this.wake();
  }

  /** Looks at once for what is due, and when the next slot is. */
  wake(): void {
    if (this.#closed) return;
    this.#again = true;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      if (this.#again) this.wake(); // said after the last look, before this
    });
  }

  /** An execution of this process ended: a slot may have waited for it. Costs nothing where none waits. */
  executionEnded(): void {
    if (this.#buffered) this.wake();
  }

  /** Fires nothing more; resolves once a transaction under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#closing.resolve({ status: 'failed', error: 'null' });
    await this.#looking;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      this.#timer?.cancel();
      let sleepMs = retryMs;
      try {
        sleepMs = await this.#fireDue();
      } catch (error) {
        this.#options.logger.warn({ error }, 'due schedules could not be fired; retrying, and no slot is lost');
      }
      if (!this.#closed) this.#timer = this.#options.clock.timer(sleepMs, () => this.wake());
    }
  }

  /** Gives how long to sleep. */
  async #fireDue(): Promise<number> {
    const { store, clock, tenants } = this.#options;
    for (;;) {
      const now = clock.now();
      const due = await store.read((dialect) => findDue(now, tenants, this.#buffered, dialect));
      const fired = due.length === 0 ? 0 : await this.#fireAll(due);
      if (fired === 0 || this.#closed) break;
    }
    const next = await store.read((dialect) => nextDue(tenants, dialect));
    this.#buffered = next.buffered;
    const {
      store: { shared },
      sleepMs = shared ? longestSleepMs : longestSleepAloneMs,
    } = this.#options;
    const longest = next.buffered ? bufferedLookMs : sleepMs;
    if (next.at === null) return longest;
    const wait = next.at - clock.now();
    return wait <= 0 ? heldMs : Math.min(wait, longest);
  }

  /** Gives how many schedules were fired here. */
  async #fireAll(due: readonly ScheduleRecord[]): Promise<number> {
    const { store, clock, resolve, maxPayload, notify } = this.#options;
    const starts = new Starts(resolve, maxPayload);
    const ready = await Promise.all(
      due.map(async (record): Promise<Ready> => ({ record, start: await this.#within(starts.of(record)) })),
    );
    if (this.#closed) return 0;
    const judged = await this.#judged(ready);
    let total = 0;
    for (let from = 0; from < judged.length && !this.#closed; from += batchLimit) {
      const batch = judged.slice(from, from + batchLimit);
      const { fired, acted, failures } = await store.write((dialect) => fireBatch(batch, clock.now(), dialect));
      total += fired;
      if (acted > 0) notify();
      for (const failure of failures) this.#tell(failure);
    }
    return total;
  }

  /** Code of a user's schema that never answers holds up no other schedule, and no close. */
  async #within(start: Promise<Start>): Promise<Start> {
    const { promise, resolve } = Promise.withResolvers<Start>();
    const message = `checking the input took longer than ${startMs} ms`;
    const error = JSON.stringify({ name: 'TimeoutError', code: 'TASK_TIMED_OUT', message });
    const timer = this.#options.clock.timer(startMs, () => resolve({ status: 'failed', error }));
    try {
      return await Promise.race([start, promise, this.#closing.promise]);
    } finally {
      timer.cancel();
    }
  }

  /** Leaves out, and puts off, what cannot be judged here, such as a zone that this system does not know. */
  async #judged(ready: readonly Ready[]): Promise<readonly Ready[]> {
    const { store, clock, logger } = this.#options;
    const now = clock.now();
    const judged: Ready[] = [];
    for (const one of ready) {
      const { record } = one;
      try {
        dueSlots({ rule: ruleOf(record), scheduleId: record.id, cursor: record.cursor, now, pausedAt: null });
        judged.push(one);
      } catch (error) {
        logger.error({ schedule: record.name, tenant: record.tenant, error }, 'a schedule cannot be fired here');
        await store.write(() => postponeSchedule(record, now + postponeMs));
      }
    }
    return judged;
  }

  #tell({ record, error }: { readonly record: ScheduleRecord; readonly error: string }): void {
    const { name: schedule, tenant, workflow } = record;
    const { code, message } = JSON.parse(error) as { code: string; message: string };
    this.#options.logger.warn({ schedule, tenant, workflow, code, message }, 'a schedule could not start its workflow');
  }
}

function* findDue(
  now: number,
  tenants: readonly string[] | null,
  buffered: boolean,
  dialect: Dialect,
): Script<ScheduleRecord[]> {
  const due = yield* dueSchedules(now, tenants, readLimit, dialect);
  if (!buffered) return due;
  const known = new Set(due.map((record) => record.id));
  const freed = yield* freedSchedules(tenants, readLimit, dialect);
  return [...due, ...freed.filter((record) => !known.has(record.id))];
}

function* fireBatch(batch: readonly Ready[], now: number, dialect: Dialect): Script<FiredBatch> {
  const failures: { record: ScheduleRecord; error: string }[] = [];
  let [fired, acted] = [0, 0];
  const starts = yield* holdStarts(batch, dialect);
  for (const [i, { record }] of batch.entries()) {
    const locked = yield* lockDue(record.id, now, dialect);
    if (locked === undefined || locked.damaged !== undefined) continue;
    // changed since it was read: what was looked up for it may be wrong, and it is due still
    if (locked.workflow !== record.workflow || locked.input !== record.input) continue;
    const { started, cancelled, failures: errors } = yield* fireSchedule(locked, starts[i]!, now, dialect);
    fired += 1;
    acted += started + cancelled;
    for (const error of errors) failures.push({ record, error });
  }
  return { fired, acted, failures };
}

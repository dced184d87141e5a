import { dueSlots } from '../core/schedule/rule.ts';
import type { Clock, Timer } from '../engine/clock.ts';
import type { Logger } from '../engine/logger.ts';
import type { ResolvedWorkflow } from '../engine/client/start.ts';
import { dueSchedules, freedSchedules, lockDue, nextDue, postponeSchedule } from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import type { Connection, Scripts } from '../store/store.ts';
import { fireSchedule, ruleOf } from './fire.ts';
import { Starts, holdStarts } from './start.ts';
import type { Start } from './start.ts';

export interface ScheduleLoopOptions {
  readonly store: Scripts & Pick<Connection, 'shared'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly maxPayload: number;
  /** The tenants whose schedules it fires; null: all. */
  readonly tenants: readonly string[] | null;
  readonly resolve: (tenant: string, workflow: string) => Promise<ResolvedWorkflow>;
  /** Called after executions were started or cancelled, so that runners of this process look. */
  readonly notify: () => void;
  /** The longest sleep without a wake-up; default a minute. */
  readonly sleepMs?: number;
}

/** Sleeps longer than this are set again: a machine that slept, or a clock that was set, is noticed by then. */
const longestSleepMs = 60_000;
const longestSleepAloneMs = 3_600_000;
/** The interval of looks at a buffered slot without a wake-up. */
const bufferedLookMs = 1000;
const retryMs = 1000;
/** The time limit for the look-up of a start. */
const startMs = 10_000;
/**
 * Due schedules that are read at once, and fired by one transaction: few enough that other writers get a turn in between.
 */
const readLimit = 500;
const batchLimit = 100;
/** The pause before the next look if another runner holds all due schedules. */
const heldMs = 20;
/** The delay of a schedule that this runner cannot judge; no slot of it is lost. */
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
  /** Ends waits that would hold up a close. */
  readonly #closing = Promise.withResolvers<Start>();
  #buffered = false;

  constructor(options: ScheduleLoopOptions) {
    this.#options = options;
    this.wake();
  }

  /** Looks at once for due schedules and for the time of the next slot. */
  wake(): void {
    if (this.#closed) return;
    this.#again = true;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      if (this.#again) this.wake(); // said after the last look, before this
    });
  }

  /** Looks if a slot may have waited for an execution of this process that ended. Costs nothing if none waits. */
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

  /** Returns the time to sleep. */
  async #fireDue(): Promise<number> {
    const { store, clock, tenants } = this.#options;
    for (;;) {
      const due = await store.read((tx) => findDue(tx, tenants, this.#buffered));
      const fired = due.length === 0 ? 0 : await this.#fireAll(due);
      if (fired === 0 || this.#closed) break;
    }
    const next = await store.read((tx) => nextDue(tx, tenants));
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

  /** Returns the number of schedules that were fired here. */
  async #fireAll(due: readonly ScheduleRecord[]): Promise<number> {
    const { store, resolve, maxPayload, notify } = this.#options;
    const starts = new Starts(resolve, maxPayload);
    const ready = await Promise.all(
      due.map(async (record): Promise<Ready> => ({ record, start: await this.#within(starts.of(record)) })),
    );
    if (this.#closed) return 0;
    const judged = await this.#judged(ready);
    let total = 0;
    for (let from = 0; from < judged.length && !this.#closed; from += batchLimit) {
      const batch = judged.slice(from, from + batchLimit);
      const { fired, acted, failures } = await store.write((tx) => fireBatch(tx, batch));
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

  /**
   * Leaves out, and postpones, schedules that cannot be judged here, such as one in a zone that this system does not know.
   */
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

function* findDue(tx: Tx, tenants: readonly string[] | null, buffered: boolean): Script<ScheduleRecord[]> {
  const due = yield* dueSchedules(tx, tenants, readLimit);
  if (!buffered) return due;
  const known = new Set(due.map((record) => record.id));
  const freed = yield* freedSchedules(tx, tenants, readLimit);
  return [...due, ...freed.filter((record) => !known.has(record.id))];
}

function* fireBatch(tx: Tx, batch: readonly Ready[]): Script<FiredBatch> {
  const failures: { record: ScheduleRecord; error: string }[] = [];
  let [fired, acted] = [0, 0];
  const starts = yield* holdStarts(tx, batch);
  for (const [i, { record }] of batch.entries()) {
    const locked = yield* lockDue(tx, record.id);
    if (locked === undefined || locked.damaged !== undefined) continue;
    // changed since it was read: its start may be outdated, and it is due still
    if (locked.workflow !== record.workflow || locked.input !== record.input) continue;
    const { started, cancelled, failures: errors } = yield* fireSchedule(tx, locked, starts[i]!);
    fired += 1;
    acted += started + cancelled;
    for (const error of errors) failures.push({ record, error });
  }
  return { fired, acted, failures };
}

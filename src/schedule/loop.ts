import { dueSlots } from '../core/schedule/due-slots.ts';
import type { Clock } from '../engine/clock.ts';
import type { Logger } from '../engine/logger.ts';
import type { ResolvedWorkflow } from '../engine/client/start.ts';
import { WakeLoop } from '../engine/wake-loop.ts';
import type { Polled } from '../engine/wake-loop.ts';
import {
  aheadSchedules,
  dueSchedules,
  freedSchedules,
  lockDue,
  nextDue,
  postponeAhead,
  postponeSchedule,
} from '../store/schedules/schedules.ts';
import type { NextDue, ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import type { Connection, Scripts } from '../store/store.ts';
import { Apart } from './apart.ts';
import { fireSchedule, questionOf, startLimit, wakeAfter } from './fire.ts';
import { moveBack, movedBack } from './move-back.ts';
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
  /** Called when executions were started or cancelled: runners of this process have something to do. */
  readonly notify: () => void;
  /** The safety net: the longest time between two passes; default a minute, on a database of this process alone an hour. */
  readonly pollMs?: number;
}

/** The safety net also covers a machine that slept and a clock that was set. */
const defaultPollMs = 60_000;
const defaultPollAloneMs = 3_600_000;
/** The safety net while a slot is buffered: the end of the execution that it waits for may not be notified. */
const bufferedPollMs = 1000;
const retryMs = 1000;
/** The longest time to check what a schedule starts; after that its slot fails. */
const checkMs = 10_000;
/** The longest time that due schedules wait for the check of another one. */
const patienceMs = 50;
/** How often due schedules are read while only checks are under way for those that are known to be due. */
const checkingPollMs = 250;
/** Due schedules read at once, and fired by one transaction: short enough that others get the writer in between. */
const readLimit = 500;
const batchLimit = 100;
/** Schedules that are due after a pass are locked by another runner: they are read again after this time. */
const lockedMs = 20;
/** How long a schedule is put off that this runner cannot judge; no slot of it is lost. */
const postponeMs = 60_000;

interface Ready {
  readonly record: ScheduleRecord;
  readonly start: Start;
}

interface FiredBatch {
  /** How many of the batch were handled; the rest is due still. */
  readonly handled: number;
  readonly fired: number;
  readonly acted: number;
  readonly failures: readonly { readonly record: ScheduleRecord; readonly error: string }[];
}

/**
 * Fires due schedules. Any number of loops may run on one database: each slot is fired by the one that locks the
 * schedule's row, whole or not at all. It begins at once.
 */
export class ScheduleLoop {
  readonly #options: ScheduleLoopOptions;
  readonly #loop: WakeLoop;
  /** Schedules, by id, that are left out of passes until the check of what they start has ended. */
  readonly #checking = new Set<string>();
  /** Results of checks that outlasted a pass. */
  #checked = new Map<string, Ready>();
  #closed = false;
  readonly #closing = Promise.withResolvers<undefined>();
  readonly #apart: Apart;
  #buffered = false;

  constructor(options: ScheduleLoopOptions) {
    this.#options = options;
    const { store, clock, logger } = options;
    this.#apart = new Apart({ store, clock, logger, isClosed: () => this.#closed });
    const onError = (error: unknown): void =>
      logger.warn({ error }, 'due schedules could not be fired; retrying, and no slot is lost');
    this.#loop = new WakeLoop({ clock, pass: () => this.#pass(), onError, retryMs });
    this.notify();
  }

  /** Passes that fired something although only the safety net had started them. */
  get caught(): number {
    return this.#loop.caught;
  }

  /** A schedule may have changed, or may be due. */
  notify(): void {
    this.#loop.notify();
  }

  /** The safety net: the database reports a slot that is due, and no notification may have come. */
  catchUp(): void {
    this.#loop.catchUp();
  }

  /** An execution of this process ended: a buffered slot may have waited for it. Costs nothing while none is buffered. */
  executionEnded(): void {
    if (this.#buffered) this.notify();
  }

  /** Fires nothing more; resolves once a transaction under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.resolve(undefined);
    await this.#loop.close();
  }

  async #pass(): Promise<Polled> {
    const { store, clock, tenants } = this.#options;
    const dueNow = await store.read((tx) => findDue(tx, tenants, this.#buffered));
    const due = dueNow.filter((record) => !this.#apart.has(record));
    const found = (await this.#fireAll(due)) > 0;
    if (found) return { found, dueInMs: 0 };
    const { next, ahead } = await store.read((tx) => lookAhead(tx, tenants));
    const movable = ahead.filter((record) => !this.#apart.has(record));
    if (movable.length > 0) {
      await this.#moveBack(movable);
      return { found: true, dueInMs: 0 };
    }
    this.#buffered = next.buffered;
    const { pollMs = store.shared ? defaultPollMs : defaultPollAloneMs } = this.#options;
    const safetyNetMs = next.buffered ? bufferedPollMs : pollMs;
    if (next.at === null) return { found, safetyNetMs };
    const wait = next.at - clock.now();
    if (wait > 0) return { found, dueInMs: wait, safetyNetMs };
    const othersAct = this.#checking.size + this.#apart.size === 0;
    return { found, dueInMs: othersAct ? lockedMs : checkingPollMs, safetyNetMs };
  }

  /** Schedules that were moved while the clock was ahead go on from now. */
  async #moveBack(ahead: readonly ScheduleRecord[]): Promise<void> {
    const { store, clock, logger } = this.#options;
    const now = clock.now();
    const movable: { readonly record: ScheduleRecord }[] = [];
    for (const record of ahead) {
      if (this.#judges(record, () => wakeAfter({ ...record, cursor: now }))) movable.push({ record });
      else await store.write((tx) => postponeAhead(tx, record.id, now + postponeMs));
    }
    const { results } = await this.#apart.write(movable, moveBackAll);
    for (const { name: schedule, tenant, nextAt: next } of results.flat()) {
      logger.warn(
        { schedule, tenant, next },
        'a schedule was ahead of the clock, which was set back; it goes on from now',
      );
    }
  }

  /** Returns how many schedules were fired. */
  async #fireAll(due: readonly ScheduleRecord[]): Promise<number> {
    const { notify } = this.#options;
    const ready = await this.#check(due);
    if (this.#closed) return 0;
    const judged = await this.#judged(ready);
    let total = 0;
    for (let from = 0; from < judged.length && !this.#closed;) {
      // each transaction blocks the event loop on SQLite
      if (from > 0) await new Promise<void>((resolve) => setImmediate(resolve));
      const batch = judged.slice(from, from + batchLimit);
      const { results, whole } = await this.#apart.write(batch, fireBatch);
      from += whole ? results[0]!.handled : batch.length;
      for (const { fired, acted, failures } of results) {
        total += fired;
        if (acted > 0) notify();
        for (const failure of failures) this.#tell(failure);
      }
    }
    return total;
  }

  /**
   * Looks up and checks what due schedules start. User code in a schema that does not answer delays the others by
   * `patienceMs`, once; its own schedule is left out of passes until it answers, or until its check has failed.
   */
  async #check(due: readonly ScheduleRecord[]): Promise<readonly Ready[]> {
    const { resolve, maxPayload, clock } = this.#options;
    const starts = new Starts(resolve, maxPayload);
    const ready = new Map<string, Start>();
    // a result is good for one pass: later, the version that it names may be retired
    const checked = this.#checked;
    this.#checked = new Map();
    let left = false;
    const check = async (record: ScheduleRecord): Promise<void> => {
      this.#checking.add(record.id);
      try {
        const start = await this.#within(starts.of(record));
        if (start === undefined) return;
        if (left) this.#checked.set(record.id, { record, start });
        else ready.set(record.id, start);
      } finally {
        this.#checking.delete(record.id);
        if (left) this.notify();
      }
    };
    const checks: Promise<void>[] = [];
    for (const record of due) {
      if (this.#checking.has(record.id)) continue;
      const known = checked.get(record.id);
      if (known?.record.workflow === record.workflow && known.record.input === record.input)
        ready.set(record.id, known.start);
      else checks.push(check(record));
    }
    const patience = Promise.withResolvers<void>();
    const timer = clock.timer(patienceMs, patience.resolve);
    try {
      await Promise.race([Promise.all(checks), patience.promise, this.#closing.promise]);
    } finally {
      timer.cancel();
      left = true;
    }
    return due.flatMap((record) => {
      const start = ready.get(record.id);
      return start === undefined ? [] : [{ record, start }];
    });
  }

  /** The result of a check, a failure after `checkMs`, or undefined if the loop is closed. */
  async #within(start: Promise<Start>): Promise<Start | undefined> {
    const { promise, resolve } = Promise.withResolvers<Start>();
    const message = `checking the input took longer than ${checkMs} ms`;
    const error = JSON.stringify({ name: 'TimeoutError', code: 'TASK_TIMED_OUT', message });
    const timer = this.#options.clock.timer(checkMs, () => resolve({ status: 'failed', error }));
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
    const { store, clock } = this.#options;
    const now = clock.now();
    const judged: Ready[] = [];
    for (const one of ready) {
      const { record } = one;
      if (this.#judges(record, () => dueSlots(questionOf(record, now, null)))) judged.push(one);
      else await store.write(() => postponeSchedule(record, now + postponeMs));
    }
    return judged;
  }

  #judges({ name: schedule, tenant }: ScheduleRecord, judge: () => unknown): boolean {
    try {
      judge();
      return true;
    } catch (error) {
      this.#options.logger.error({ schedule, tenant, error }, 'a schedule cannot be fired here');
      return false;
    }
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

/** The next time at which a schedule is due, and schedules that a clock that was ahead has moved. */
function* lookAhead(
  tx: Tx,
  tenants: readonly string[] | null,
): Script<{ readonly next: NextDue; readonly ahead: readonly ScheduleRecord[] }> {
  return { next: yield* nextDue(tx, tenants), ahead: yield* aheadSchedules(tx, tenants, batchLimit) };
}

function* moveBackAll(
  tx: Tx,
  batch: readonly { readonly record: ScheduleRecord }[],
): Script<readonly ScheduleRecord[]> {
  const back: ScheduleRecord[] = [];
  for (const { record } of batch) {
    const one = yield* moveBack(tx, record);
    if (one !== undefined) back.push(one);
  }
  return back;
}

function* fireBatch(tx: Tx, batch: readonly Ready[]): Script<FiredBatch> {
  const failures: { record: ScheduleRecord; error: string }[] = [];
  let [handled, fired, acted, tried] = [0, 0, 0, 0];
  const starts = yield* holdStarts(tx, batch);
  for (const [i, { record }] of batch.entries()) {
    if (tried >= startLimit) break;
    handled += 1;
    const locked = yield* lockDue(tx, record.id);
    if (locked === undefined || locked.damaged !== undefined) continue;
    // it changed since it was read: its check may be wrong, and it is due still
    if (locked.workflow !== record.workflow || locked.input !== record.input) continue;
    const current = yield* movedBack(tx, locked);
    const one = yield* fireSchedule(tx, current, starts[i]!, startLimit - tried);
    fired += 1;
    tried += one.tried;
    acted += one.started + one.cancelled;
    for (const error of one.failures) failures.push({ record, error });
  }
  return { handled, fired, acted, failures };
}

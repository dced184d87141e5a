import { DatabaseLostError } from '../core/error.ts';
import { BusyError } from '../store/store.ts';
import {
  FencedError,
  OutcomeUnknownError,
  RefusedBatchError,
  UnwritableBatchError,
  batchLimit,
} from '../store/transition.ts';
import type { Clock } from './clock.ts';
import { delay } from './clock.ts';
import type { Logger } from './logger.ts';

export interface GroupCommitOptions<Member, Change, Result> {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The changes, in the plural, for log messages. */
  readonly noun: string;
  /** All changes of a member since the last call; undefined if there are none. Never throws. */
  readonly change: (member: Member) => Change | undefined;
  /** The length of a change in characters of JSON text. */
  readonly sizeOf: (change: Change) => number;
  /** One transaction. `n` counts the batches; a repetition has the number of the first try. */
  readonly write: (n: number, changes: readonly Change[]) => Promise<Result>;
  /** A batch is durable. Never throws. */
  readonly written: (members: readonly Member[], result: Result) => void;
  /** The database will never take the change of a member as it is; nothing of it was written. Never throws. */
  readonly refused: (member: Member, cause: unknown) => void;
  /** Fenced: the change of a member is not written. Never throws. */
  readonly dropped?: (member: Member) => void;
  /** The changes of a batch that an error refuses, and its cause; undefined if the error does not tell them. */
  readonly refusedBy?: (
    error: unknown,
  ) => { readonly isRefused: (change: Change) => boolean; readonly cause: unknown } | undefined;
  /** The runner was declared dead. */
  readonly onFenced?: () => void;
  /** The database went away or came back. */
  readonly onAway?: (away: boolean) => void;
  /** A commit is under way, or none is any more. */
  readonly onWaits?: (waits: boolean) => void;
}

/** Members and their changes, in the same order. */
interface Group<Member, Change> {
  readonly members: Member[];
  readonly changes: Change[];
}

/** The longest change, in characters of JSON (256 Mi): a string of V8 has at most 2^29, and escaping may double a text. */
const longestChange = 268_435_456;
const firstRetryMs = 20;
const lastRetryMs = 1000;
const busyRetryMs = 5;
/** A database that another process has locked for longer than this is away. */
const longestBusyMs = 1000;

/**
 * Group commit: gathers the changes of all members while the previous commit is under way, and makes them durable in one
 * transaction. A batch that failed is written again, unchanged, until the database takes it. A refused change is singled
 * out, and the others go on.
 */
export class GroupCommit<Member, Change, Result> {
  readonly #options: GroupCommitOptions<Member, Change, Result>;
  #dirty = new Set<Member>();
  #running: Promise<void> | undefined;
  #fenced = false;
  #awaySince: number | undefined;
  /** The batch that the database has just now. */
  #sent: readonly Member[] | undefined;
  /** A batch that failed and waits for its next try. */
  #waiting: Group<Member, Change> | undefined;
  /** The waiting batch may have been written. */
  #unknown = false;
  #waitsSince: number | undefined;
  #n = 0;

  constructor(options: GroupCommitOptions<Member, Change, Result>) {
    this.#options = options;
  }

  /** A member has something to write. It is asked for it when the next commit is put together. */
  mark(member: Member): void {
    if (this.#fenced) return;
    this.#dirty.add(member);
    this.#running ??= this.#run();
  }

  /**
   * Forgets the changes of a member. Not possible while the database has them (`sent`), or may have written them
   * (`unknown`).
   */
  withdraw(member: Member): 'withdrawn' | 'sent' | 'unknown' {
    if (this.#sent?.includes(member) === true) return 'sent';
    const at = this.#waiting?.members.indexOf(member) ?? -1;
    if (this.#unknown && at >= 0) return 'unknown';
    const marked = this.#dirty.delete(member);
    if (at < 0) return marked ? 'withdrawn' : 'sent';
    this.#waiting!.members.splice(at, 1);
    this.#waiting!.changes.splice(at, 1);
    return 'withdrawn';
  }

  /** Whether changes of a member are on their way to the database, or will be. */
  holds(member: Member): boolean {
    const lists = [this.#sent, this.#waiting?.members];
    return this.#dirty.has(member) || lists.some((list) => list?.includes(member) === true);
  }

  /** The time (monotonic, ms) since which commits fail; undefined while they do not. */
  get awaySince(): number | undefined {
    return this.#awaySince;
  }

  /** The time (monotonic, ms) since which a commit has had no answer; undefined while none waits. */
  get waitsSince(): number | undefined {
    return this.#waitsSince;
  }

  /** Resolves when all that was marked so far is durable, refused or dropped. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** From now on it writes nothing. A batch that the database has just now may still be written. */
  fence(): void {
    this.#fenced = true;
    const dropped = [...this.#dirty];
    this.#dirty.clear();
    this.#drop(dropped);
  }

  #drop(members: readonly Member[]): void {
    for (const member of members) this.#options.dropped?.(member);
  }

  async #run(): Promise<void> {
    try {
      do {
        // other changes of this turn of the event loop go into the same commit
        await new Promise<void>((resolve) => setImmediate(resolve));
        await this.#flush();
      } while (this.#dirty.size > 0 && !this.#fenced);
    } catch (error) {
      // only a close of the runner awaits this promise
      this.#options.logger.error(
        { error },
        'a group commit met an error that is neither of a change nor of the database',
      );
    } finally {
      this.#running = undefined;
      // nothing is left to write, so the state of the database is not known
      if (this.#awaySince !== undefined) {
        this.#awaySince = undefined;
        this.#options.onAway?.(false);
      }
      this.#waitsNoMore();
      if (this.#dirty.size > 0 && !this.#fenced) this.#running = this.#run();
    }
  }

  #waitsNoMore(): void {
    if (this.#waitsSince === undefined) return;
    this.#waitsSince = undefined;
    this.#options.onWaits?.(false);
  }

  async #flush(): Promise<void> {
    const batch = this.#gather();
    if (batch.members.length === 0) return;
    if (this.#waitsSince === undefined) {
      this.#waitsSince = this.#options.clock.monotonic();
      this.#options.onWaits?.(true);
    }
    await this.#commit(batch);
    if (this.#awaySince === undefined) this.#waitsNoMore();
  }

  #gather(): Group<Member, Change> {
    const { change: changeOf, sizeOf, refused } = this.#options;
    const batch: Group<Member, Change> = { members: [], changes: [] };
    let size = 0;
    for (const member of this.#dirty) {
      this.#dirty.delete(member);
      const change = changeOf(member);
      if (change === undefined) continue;
      const length = sizeOf(change);
      if (length > longestChange) {
        refused(member, tooLong(length));
        continue;
      }
      batch.members.push(member);
      batch.changes.push(change);
      size += length;
      if (size > batchLimit) break;
    }
    return batch;
  }

  async #commit(batch: Group<Member, Change>): Promise<void> {
    const { clock, write, written } = this.#options;
    const { members, changes } = batch;
    let busySince: number | undefined;
    const n = ++this.#n;
    this.#unknown = false;
    for (let wait = firstRetryMs; !this.#fenced && members.length > 0; wait = Math.min(wait * 2, lastRetryMs)) {
      let result: { readonly value: Result } | undefined;
      try {
        this.#sent = members;
        result = { value: await write(n, changes).finally(() => (this.#sent = undefined)) };
      } catch (error) {
        const rest = this.#restOf(error, batch);
        if (rest !== undefined) return rest();
        if (error instanceof OutcomeUnknownError) this.#unknown = true;
        const isBusy = error instanceof BusyError;
        if (isBusy) {
          busySince ??= clock.monotonic();
          wait = busyRetryMs;
        }
        if (!isBusy || clock.monotonic() - busySince! > longestBusyMs) this.#away(error);
      }
      // outside of the try: an exception that follows a commit must not write the batch again
      if (result !== undefined) {
        this.#away(undefined);
        written(members, result.value);
        return;
      }
      this.#waiting = batch;
      await delay(clock, wait);
      this.#waiting = undefined;
    }
    this.#drop(members);
  }

  /** The steps that replace the repetition of a batch; undefined if it is to be repeated. */
  #restOf(error: unknown, batch: Group<Member, Change>): (() => Promise<void>) | undefined {
    // no repetition helps, and the store informs the runner
    if (error instanceof DatabaseLostError) return async () => this.#fenceWith(batch);
    if (error instanceof FencedError) {
      return async () => {
        this.#fenceWith(batch);
        this.#options.onFenced?.();
      };
    }
    const refusal = this.#options.refusedBy?.(error);
    if (refusal !== undefined) return () => this.#without(refusal, batch);
    if (error instanceof UnwritableBatchError)
      return () => this.#inParts(error.cause, batch, longestOf(this.#sizes(batch)));
    if (error instanceof RefusedBatchError) return () => this.#inParts(error.cause, batch, laterHalf);
    return undefined;
  }

  #fenceWith({ members }: Group<Member, Change>): void {
    this.fence();
    this.#drop(members);
  }

  /** Some changes cannot be written: the others go on without them. */
  async #without(
    { isRefused, cause }: { readonly isRefused: (change: Change) => boolean; readonly cause: unknown },
    batch: Group<Member, Change>,
  ): Promise<void> {
    const [others, refused] = split(batch, (i) => isRefused(batch.changes[i]!));
    if (others.members.length > 0) await this.#commit(others);
    for (const member of refused.members) this.#options.refused(member, cause);
  }

  /** Nothing of a batch was written, and as a whole it never will be: it is written in two parts. */
  async #inParts(
    cause: unknown,
    batch: Group<Member, Change>,
    isLater: (at: number, count: number) => boolean,
  ): Promise<void> {
    const count = batch.members.length;
    if (count === 1) {
      this.#options.refused(batch.members[0]!, cause);
      return;
    }
    for (const part of split(batch, (i) => isLater(i, count))) await this.#commit(part);
  }

  #sizes({ changes }: Group<Member, Change>): readonly number[] {
    return changes.map((change) => this.#options.sizeOf(change));
  }

  #away(error: unknown): void {
    const away = error !== undefined;
    if (away === (this.#awaySince !== undefined)) return;
    const { logger, clock, noun, onAway } = this.#options;
    this.#awaySince = away ? clock.monotonic() : undefined;
    if (away) logger.warn({ error }, `the database is unavailable; ${noun} are retried until it is back`);
    else logger.warn({}, 'the database is available again');
    onAway?.(away);
  }
}

/** The members for which `isSecond` is false, and the others. */
function split<Member, Change>(
  { members, changes }: Group<Member, Change>,
  isSecond: (at: number) => boolean,
): readonly [Group<Member, Change>, Group<Member, Change>] {
  const parts = [
    { members: [] as Member[], changes: [] as Change[] },
    { members: [] as Member[], changes: [] as Change[] },
  ] as const;
  for (const [at, member] of members.entries()) {
    const part = parts[isSecond(at) ? 1 : 0];
    part.members.push(member);
    part.changes.push(changes[at]!);
  }
  return parts;
}

/** A batch that is too much at once: its longest change goes by itself, after the others. */
function longestOf(sizes: readonly number[]): (at: number) => boolean {
  const longest = sizes.indexOf(sizes.reduce((most, size) => Math.max(most, size)));
  return (at) => at === longest;
}

/** A batch with a refused change that the error does not name: halves find it in the fewest transactions. */
function laterHalf(at: number, count: number): boolean {
  return at >= count / 2;
}

function tooLong(length: number): Error {
  return new Error(
    `a change of the execution has ${length} characters of JSON, and at most ${longestChange} can be stored at once`,
  );
}

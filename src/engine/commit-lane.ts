import { DatabaseLostError } from '../core/error.ts';
import { BusyError } from '../store/store.ts';
import { FencedError, OutcomeUnknownError, RefusedBatchError, UnwritableBatchError } from '../store/transition.ts';
import { delay } from './clock.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';

/** The number of a batch within its lane; a repetition has that of the first try. */
export interface BatchPlace {
  readonly lane: number;
  readonly n: number;
}

export interface LaneOptions<Member, Change, Result> {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The changes, in the plural, for log messages. */
  readonly noun: string;
  /** The length of a change in characters of JSON text. */
  readonly sizeOf: (change: Change) => number;
  /** One transaction. */
  readonly write: (place: BatchPlace, changes: readonly Change[]) => Promise<Result>;
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
}

/** Members and their changes, in the same order. */
export interface Group<Member, Change> {
  readonly members: Member[];
  readonly changes: Change[];
}

const firstRetryMs = 20;
const lastRetryMs = 1000;
const busyRetryMs = 5;
/** A database that another process has locked for longer than this is away. */
const longestBusyMs = 1000;

/** What a lane needs of its group commit. */
export interface LaneHost {
  readonly isFenced: () => boolean;
  readonly fence: () => void;
  /** A batch of the lane has failed, or was written after it had failed. */
  readonly onFailing: (error: unknown) => void;
}

/**
 * One of the commits of a group that may be under way at a time: it writes batches one after another. A batch that failed
 * is written again, unchanged, until the database takes it. A refused change is singled out, and the others go on.
 */
export class CommitLane<Member, Change, Result> {
  readonly #number: number;
  readonly #options: LaneOptions<Member, Change, Result>;
  readonly #host: LaneHost;
  /** The number of its latest batch. */
  #n = 0;
  /** The batch, or part of one, that it writes. */
  #batch: Group<Member, Change> | undefined;
  /** The database has the batch just now; otherwise the batch failed and waits for its next try. */
  #isSent = false;
  /** The waiting batch may have been written. */
  #isUnknown = false;
  /** The time (monotonic, ms) since which its batch fails. */
  failingSince: number | undefined;

  constructor(number: number, options: LaneOptions<Member, Change, Result>, host: LaneHost) {
    this.#number = number;
    this.#options = options;
    this.#host = host;
  }

  /** As `GroupCommit.withdraw`; undefined if no batch has the member. */
  withdraw(member: Member): 'withdrawn' | 'sent' | 'unknown' | undefined {
    const at = this.#batch?.members.indexOf(member) ?? -1;
    if (at < 0) return undefined;
    if (this.#isSent) return 'sent';
    if (this.#isUnknown) return 'unknown';
    this.#batch!.members.splice(at, 1);
    this.#batch!.changes.splice(at, 1);
    return 'withdrawn';
  }

  /** Resolves when the changes of a batch are durable, refused or dropped. */
  async write(batch: Group<Member, Change>): Promise<void> {
    const { clock, write, written } = this.#options;
    const { members, changes } = batch;
    let busySince: number | undefined;
    const place = { lane: this.#number, n: ++this.#n };
    this.#batch = batch;
    this.#isUnknown = false;
    for (
      let wait = firstRetryMs;
      !this.#host.isFenced() && members.length > 0;
      wait = Math.min(wait * 2, lastRetryMs)
    ) {
      let result: { readonly value: Result } | undefined;
      try {
        this.#isSent = true;
        result = { value: await write(place, changes).finally(() => (this.#isSent = false)) };
      } catch (error) {
        const rest = this.#restOf(error, batch);
        if (rest !== undefined) {
          this.#batch = undefined;
          return rest();
        }
        if (error instanceof OutcomeUnknownError) this.#isUnknown = true;
        const isBusy = error instanceof BusyError;
        if (isBusy) {
          busySince ??= clock.monotonic();
          wait = busyRetryMs;
        }
        if (!isBusy || clock.monotonic() - busySince! > longestBusyMs) this.#fails(error);
      }
      // outside of the try: an exception that follows a commit must not write the batch again
      if (result !== undefined) {
        this.#batch = undefined;
        this.#fails(undefined);
        written(members, result.value);
        return;
      }
      await delay(clock, wait);
    }
    this.#batch = undefined;
    this.#drop(members);
  }

  /** The steps that replace the repetition of a batch; undefined if it is to be repeated. */
  #restOf(error: unknown, batch: Group<Member, Change>): (() => Promise<void>) | undefined {
    // no repetition helps, and the store informs the runner
    if (error instanceof DatabaseLostError) return async () => this.#fenceWith(batch);
    if (error instanceof FencedError) {
      return async () => {
        const isFirst = !this.#host.isFenced();
        this.#fenceWith(batch);
        if (isFirst) this.#options.onFenced?.();
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
    this.#host.fence();
    this.#drop(members);
  }

  /** Some changes cannot be written: the others go on without them. */
  async #without(
    { isRefused, cause }: { readonly isRefused: (change: Change) => boolean; readonly cause: unknown },
    batch: Group<Member, Change>,
  ): Promise<void> {
    const [others, refused] = split(batch, (i) => isRefused(batch.changes[i]!));
    if (others.members.length > 0) await this.write(others);
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
    for (const part of split(batch, (i) => isLater(i, count))) await this.write(part);
  }

  #sizes({ changes }: Group<Member, Change>): readonly number[] {
    return changes.map((change) => this.#options.sizeOf(change));
  }

  #drop(members: readonly Member[]): void {
    for (const member of members) this.#options.dropped?.(member);
  }

  #fails(error: unknown): void {
    if (error === undefined && this.failingSince === undefined) return;
    this.failingSince = error === undefined ? undefined : (this.failingSince ?? this.#options.clock.monotonic());
    this.#host.onFailing(error);
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

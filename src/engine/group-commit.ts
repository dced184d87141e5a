import { batchLimit } from '../store/transition.ts';
import { CommitLane } from './commit-lane.ts';
import type { Group, LaneOptions } from './commit-lane.ts';

export interface GroupCommitOptions<Member, Change, Result> extends LaneOptions<Member, Change, Result> {
  /** The number of commits that may be under way at a time. */
  readonly lanes: number;
  /** All changes of a member since the last call; undefined if there are none. Never throws. */
  readonly change: (member: Member) => Change | undefined;
  /** The database went away or came back. */
  readonly onAway?: (away: boolean) => void;
  /** The time (monotonic, ms) since which a commit has had no answer has changed; undefined while none waits. */
  readonly onWaits?: (since: number | undefined) => void;
}

/** One of the commits that may be under way at a time. */
interface Place<Member, Change, Result> {
  readonly lane: CommitLane<Member, Change, Result>;
  running: Promise<void> | undefined;
  /** The time (monotonic, ms) since which its changes have had no answer. */
  since: number | undefined;
}

/** The longest change, in characters of JSON (256 Mi): a string of V8 has at most 2^29, and escaping may double a text. */
const longestChange = 268_435_456;
/** Fewer members than this go into one batch: the cost of a second one would be more than what its overlap saves. */
const leastShared = 64;

/**
 * Group commit: gathers the changes of all members while earlier commits are under way, and makes them durable in one
 * transaction. Some commits run at a time, each in a lane: while the database writes one batch, what follows from another
 * is computed and sent. No batch has a member of a batch under way, so the changes of a member are written in their order.
 * While a batch fails, no other begins.
 */
export class GroupCommit<Member, Change, Result> {
  readonly #options: GroupCommitOptions<Member, Change, Result>;
  readonly #places: readonly Place<Member, Change, Result>[];
  readonly #dirty = new Set<Member>();
  /** Members of the batches under way. */
  readonly #busy = new Set<Member>();
  /** A lane gathers at the end of this turn of the event loop. */
  #isGathering = false;
  #isFenced = false;
  #isAway = false;

  constructor(options: GroupCommitOptions<Member, Change, Result>) {
    this.#options = options;
    const host = { isFenced: () => this.#isFenced, fence: () => this.fence(), onFailing: this.#failing.bind(this) };
    this.#places = Array.from({ length: options.lanes }, (_, number) => ({
      lane: new CommitLane(number, options, host),
      running: undefined,
      since: undefined,
    }));
  }

  /** A member has something to write. It is asked for it when the next commit is put together. */
  mark(member: Member): void {
    if (this.#isFenced) return;
    this.#dirty.add(member);
    if (!this.#busy.has(member)) this.#begin();
  }

  /**
   * Forgets the changes of a member. Not possible while the database has them (`sent`), or may have written them
   * (`unknown`).
   */
  withdraw(member: Member): 'withdrawn' | 'sent' | 'unknown' {
    for (const { lane } of this.#places) {
      const how = lane.withdraw(member);
      if (how === undefined) continue;
      if (how === 'withdrawn') this.#dirty.delete(member);
      return how;
    }
    return this.#dirty.delete(member) ? 'withdrawn' : 'sent';
  }

  /** Returns true if changes of a member are on their way to the database, or will be. */
  holds(member: Member): boolean {
    return this.#dirty.has(member) || this.#busy.has(member);
  }

  /** The time (monotonic, ms) since which commits fail; undefined while they do not. */
  get awaySince(): number | undefined {
    return least(this.#places, ({ lane }) => lane.failingSince);
  }

  /** The time (monotonic, ms) since which a commit has had no answer; undefined while none waits. */
  get waitsSince(): number | undefined {
    return least(this.#places, ({ since }) => since);
  }

  /** Resolves when all that was marked so far is durable, refused or dropped. */
  async settled(): Promise<void> {
    for (;;) {
      const running = this.#places.flatMap((place) => place.running ?? []);
      if (running.length === 0) return;
      await Promise.all(running);
    }
  }

  /** From now on it writes nothing. A batch that the database has just now may still be written. */
  fence(): void {
    this.#isFenced = true;
    const dropped = [...this.#dirty];
    this.#dirty.clear();
    for (const member of dropped) this.#options.dropped?.(member);
  }

  /** Starts a free lane for the marked members; a lane that is about to gather takes them, too. */
  #begin(): void {
    if (!this.#mayBegin()) return;
    const place = this.#places.find(({ running }) => running === undefined);
    if (place !== undefined) place.running = this.#run(place);
  }

  #mayBegin(): boolean {
    return !this.#isFenced && !this.#isGathering && !this.#isAway;
  }

  /** While the database is away, the lane that tries it goes on. */
  #mayGoOn({ lane }: Place<Member, Change, Result>): boolean {
    return this.#mayBegin() || (!this.#isFenced && !this.#isGathering && lane.failingSince !== undefined);
  }

  #hasMore(): boolean {
    for (const member of this.#dirty) if (!this.#busy.has(member)) return true;
    return false;
  }

  async #run(place: Place<Member, Change, Result>): Promise<void> {
    try {
      do {
        this.#isGathering = true;
        // other changes of this turn of the event loop go into the same commit
        await new Promise<void>((resolve) => setImmediate(resolve));
        this.#isGathering = false;
        const batch = this.#gather();
        // the rest of a batch that was divided
        if (this.#hasMore()) this.#begin();
        if (batch.members.length > 0) await this.#write(place, batch);
      } while (this.#mayGoOn(place) && this.#hasMore());
    } catch (error) {
      // only a close of the runner awaits this promise
      this.#options.logger.error(
        { error },
        'a group commit met an error that is neither of a change nor of the database',
      );
    } finally {
      place.running = undefined;
      // with nothing left to write, the state of the database is not known
      place.lane.failingSince = undefined;
      this.#waits(place, undefined);
      this.#changeAway(this.awaySince !== undefined);
      if (this.#hasMore()) this.#begin();
    }
  }

  async #write(place: Place<Member, Change, Result>, batch: Group<Member, Change>): Promise<void> {
    const members = [...batch.members];
    for (const member of members) this.#busy.add(member);
    this.#waits(place, place.since ?? this.#options.clock.monotonic());
    try {
      await place.lane.write(batch);
    } finally {
      for (const member of members) this.#busy.delete(member);
      // a batch of which all was withdrawn has not shown that the database is back
      if (place.lane.failingSince === undefined) this.#waits(place, undefined);
    }
  }

  #waits(place: Place<Member, Change, Result>, since: number | undefined): void {
    const before = this.waitsSince;
    place.since = since;
    const now = this.waitsSince;
    if (now !== before) this.#options.onWaits?.(now);
  }

  #gather(): Group<Member, Change> {
    const { change: changeOf, sizeOf, refused } = this.#options;
    const batch: Group<Member, Change> = { members: [], changes: [] };
    // this lane and the free ones share what waits
    const others = this.#places.filter(({ running }) => running === undefined).length;
    const most = Math.max(leastShared, Math.ceil(this.#dirty.size / (others + 1)));
    let size = 0;
    for (const member of this.#dirty) {
      if (this.#busy.has(member)) continue;
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
      if (size > batchLimit || batch.members.length === most) break;
    }
    return batch;
  }

  /** A batch has failed, or was written after it had failed. The database is away while any batch fails. */
  #failing(error: unknown): void {
    const isAway = this.awaySince !== undefined;
    if (isAway === this.#isAway) return;
    const { logger, noun } = this.#options;
    if (isAway) logger.warn({ error }, `the database is unavailable; ${noun} are retried until it is back`);
    else logger.warn({}, 'the database is available again');
    this.#changeAway(isAway);
    if (this.#hasMore()) this.#begin();
  }

  #changeAway(isAway: boolean): void {
    if (isAway === this.#isAway) return;
    this.#isAway = isAway;
    this.#options.onAway?.(isAway);
  }
}

/** The least of some times; undefined if there is none. */
function least<T>(all: readonly T[], timeOf: (one: T) => number | undefined): number | undefined {
  let found: number | undefined;
  for (const one of all) {
    const time = timeOf(one);
    if (time !== undefined && (found === undefined || time < found)) found = time;
  }
  return found;
}

function tooLong(length: number): Error {
  return new Error(
    `a change of the execution has ${length} characters of JSON, and at most ${longestChange} can be stored at once`,
  );
}

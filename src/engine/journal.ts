import { DatabaseReplacedError } from '../core/error.ts';
import {
  FencedError,
  OutcomeUnknownError,
  PinRefusedError,
  RefusedDataError,
  UnwritableBatchError,
  batchLimit,
  sizeOf,
} from '../store/transition.ts';
import type { CommitResult, TaskKey, Transition } from '../store/transition.ts';
import { BusyError } from '../store/store.ts';
import type { Clock } from './clock.ts';
import { delay } from './clock.ts';
import type { Logger } from './logger.ts';

/** Somebody with changes to make durable; one participant is one owned execution. */
export interface Participant {
  readonly id: string;
  /** All changes since the last call, as one transition; undefined where there are none (any more). */
  transition(): Transition | undefined;
  /** The last transition is durable. `held`: but it was not let go, since mail has come. `moved`: created for anyone. `taken`: see CommitResult. */
  committed(how: 'written' | 'held' | 'moved', taken: readonly TaskKey[]): void;
  /** This runner does not own the execution any more; nothing was written. */
  lost(): void;
  /** The database will never take the last transition as it is, or (PinRefusedError) it starts what cannot be; nothing of it was written. */
  refused(cause: unknown): void;
  /** One of the calls above has thrown. That costs the participant, and not the journal. Never throws. */
  threw(cause: unknown): void;
}

export interface JournalOptions {
  /** `n` counts the batches; a repetition has the number of the first try. */
  readonly commit: (n: number, transitions: readonly Transition[]) => Promise<CommitResult>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The runner was declared dead. */
  readonly onFenced: () => void;
  /** The database went away or came back. */
  readonly onAway: (away: boolean) => void;
  /** A commit is under way, or none is any more. */
  readonly onWaits?: (waits: boolean) => void;
}

/** The longest transition, in characters of JSON (256 Mi): a string of V8 has at most 2^29, and escaping may double a text. */
const longestTransition = 268_435_456;
const firstRetryMs = 20;
const lastRetryMs = 1000;
const busyRetryMs = 5;
/** A database that is held by another process for longer than this is away. */
const longestBusyMs = 1000;

/**
 * Group commit: gathers what every execution changed while the previous commit was on its way, and makes it durable
 * in one transaction. What failed is kept and tried again, unchanged, until the database takes it.
 */
export class Journal {
  readonly #options: JournalOptions;
  #dirty = new Set<Participant>();
  #running: Promise<void> | undefined;
  #fenced = false;
  #awaySince: number | undefined;
  /** A batch in the hands of the database. */
  #sent: readonly Participant[] | undefined;
  /** A batch that failed and waits to be tried again. */
  #waitingMembers: Participant[] | undefined;
  #waitingTransitions: Transition[] = [];
  /** Whether the batch that waits may have been written. */
  #unknown = false;
  #waitsSince: number | undefined;
  #n = 0;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** Says that a participant has something to write. It is asked for it when the next commit is put together. */
  mark(participant: Participant): void {
    if (this.#fenced) return;
    this.#dirty.add(participant);
    this.#running ??= this.#run();
  }

  /**
   * Forgets what a participant wanted to write. Not where that is in the hands of the database just now (`sent`), or may
   * have been written (`unknown`).
   */
  withdraw(participant: Participant): 'withdrawn' | 'sent' | 'unknown' {
    if (this.#sent?.includes(participant) === true) return 'sent';
    if (this.#unknown && this.#waitingMembers?.includes(participant) === true) return 'unknown';
    const marked = this.#dirty.delete(participant);
    const at = this.#waitingMembers?.indexOf(participant) ?? -1;
    if (at < 0) return marked ? 'withdrawn' : 'sent';
    this.#waitingMembers!.splice(at, 1);
    this.#waitingTransitions.splice(at, 1);
    return 'withdrawn';
  }

  /** Whether something of a participant is on its way to the database, or is to be. */
  holds(participant: Participant): boolean {
    const lists = [this.#sent, this.#waitingMembers];
    return this.#dirty.has(participant) || lists.some((list) => list?.includes(participant) === true);
  }

  /** The time (monotonic, ms) since which commits fail; undefined while they do not. */
  get awaySince(): number | undefined {
    return this.#awaySince;
  }

  /** The time (monotonic, ms) since which something to write has had no answer; undefined where nothing waits. */
  get waitsSince(): number | undefined {
    return this.#waitsSince;
  }

  /** Resolves when all that was marked so far is durable (or given up). */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Writes nothing any more. */
  fence(): void {
    this.#fenced = true;
    this.#dirty.clear();
  }

  async #run(): Promise<void> {
    try {
      do {
        // whatever else became ready in this turn of the event loop goes into the same commit
        await new Promise<void>((resolve) => setImmediate(resolve));
        await this.#flush();
      } while (this.#dirty.size > 0 && !this.#fenced);
    } catch (error) {
      // nobody awaits this but those who close the runner
      this.#options.logger.error({ error }, 'an unexpected error stopped a write of the journal');
    } finally {
      this.#running = undefined;
      // all that was to be written was given up: what the database does is not known any more
      if (this.#awaySince !== undefined) {
        this.#awaySince = undefined;
        this.#options.onAway(false);
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
    const members: Participant[] = [];
    const transitions: Transition[] = [];
    let size = 0;
    for (const participant of this.#dirty) {
      this.#dirty.delete(participant);
      let transition: Transition | undefined;
      guarded(participant, () => (transition = participant.transition()));
      if (transition === undefined) continue;
      const length = sizeOf(transition);
      if (length > longestTransition) {
        this.#refuse(participant, tooLong(length));
        continue;
      }
      members.push(participant);
      transitions.push(transition);
      size += length;
      if (size > batchLimit) break;
    }
    if (transitions.length === 0) return;
    if (this.#waitsSince === undefined) {
      this.#waitsSince = this.#options.clock.monotonic();
      this.#options.onWaits?.(true);
    }
    await this.#commit(members, transitions);
    if (this.#awaySince === undefined) this.#waitsNoMore();
  }

  async #commit(members: Participant[], transitions: Transition[]): Promise<void> {
    let busySince: number | undefined;
    const n = ++this.#n;
    this.#unknown = false;
    for (let wait = firstRetryMs; !this.#fenced && members.length > 0; wait = Math.min(wait * 2, lastRetryMs)) {
      let result: CommitResult | undefined;
      try {
        this.#sent = members;
        result = await this.#options.commit(n, transitions).finally(() => (this.#sent = undefined));
      } catch (error) {
        // no repetition helps, and the runner is told by the store
        if (error instanceof DatabaseReplacedError) return this.fence();
        if (error instanceof FencedError) {
          this.fence();
          this.#options.onFenced();
          return;
        }
        if (error instanceof RefusedDataError || error instanceof PinRefusedError) {
          await this.#without(error, members, transitions);
          return;
        }
        if (error instanceof UnwritableBatchError) {
          await this.#inParts(error, members, transitions);
          return;
        }
        if (error instanceof OutcomeUnknownError) this.#unknown = true;
        const busy = error instanceof BusyError;
        if (busy) {
          busySince ??= this.#options.clock.monotonic();
          wait = busyRetryMs;
        }
        if (!busy || this.#options.clock.monotonic() - busySince! > longestBusyMs) this.#away(error);
      }
      // what follows from a commit is no part of it: were it to throw, the batch must not be written again
      if (result !== undefined) {
        this.#away(undefined);
        this.#settle(members, result);
        return;
      }
      this.#waitingMembers = members;
      this.#waitingTransitions = transitions;
      await delay(this.#options.clock, wait);
      this.#waitingMembers = undefined;
    }
  }

  #settle(members: readonly Participant[], result: CommitResult): void {
    const plain = result.lost.length + result.kept.length + result.moved.length === 0;
    for (const member of members) {
      const taken = result.offersTaken.length === 0 ? none : result.offersTaken.filter(({ id }) => id === member.id);
      guarded(member, () => {
        if (plain) member.committed('written', taken);
        else if (result.lost.includes(member.id)) member.lost();
        else if (result.kept.includes(member.id)) member.committed('held', taken);
        else member.committed(result.moved.includes(member.id) ? 'moved' : 'written', taken);
      });
    }
  }

  /** Some transitions cannot be written: the others go on without them. */
  async #without(
    error: RefusedDataError | PinRefusedError,
    members: readonly Participant[],
    transitions: readonly Transition[],
  ): Promise<void> {
    const isData = error instanceof RefusedDataError;
    if (isData)
      this.#options.logger.error({ execution: error.id, error: error.cause }, 'the database refuses a change');
    const isRefused = transitions.map((one) => (isData ? one.id === error.id : startsAnyOf(one, error.refused)));
    const others = members.filter((_, i) => isRefused[i] !== true);
    const theirs = transitions.filter((_, i) => isRefused[i] !== true);
    if (others.length > 0) await this.#commit(others, theirs);
    for (const [i, member] of members.entries())
      if (isRefused[i] === true) guarded(member, () => member.refused(isData ? error.cause : error));
  }

  /** Nothing of a batch was written, and as a whole it never will be: the longest transition goes by itself, after the others. */
  async #inParts(
    error: UnwritableBatchError,
    members: readonly Participant[],
    transitions: readonly Transition[],
  ): Promise<void> {
    if (members.length === 1) {
      this.#refuse(members[0]!, error.cause);
      return;
    }
    const sizes = transitions.map(sizeOf);
    const longest = sizes.indexOf(sizes.reduce((most, size) => Math.max(most, size)));
    const others = members.filter((_, i) => i !== longest);
    await this.#commit(
      others,
      transitions.filter((_, i) => i !== longest),
    );
    await this.#commit([members[longest]!], [transitions[longest]!]);
  }

  #refuse(member: Participant, cause: unknown): void {
    this.#options.logger.error({ execution: member.id, error: cause }, 'the database cannot store a change');
    guarded(member, () => member.refused(cause));
  }

  #away(error: unknown): void {
    const away = error !== undefined;
    if (away === (this.#awaySince !== undefined)) return;
    this.#awaySince = away ? this.#options.clock.monotonic() : undefined;
    if (away) this.#options.logger.warn({ error }, 'the database is unavailable; commits are retried until it is back');
    else this.#options.logger.warn({}, 'the database is available again');
    this.#options.onAway(away);
  }
}

const none: readonly TaskKey[] = [];

function tooLong(length: number): Error {
  return new Error(
    `a change of the execution has ${length} characters of JSON, and at most ${longestTransition} can be stored at once`,
  );
}

/** Calls a participant; an exception is its own, and never the journal's. */
function guarded(participant: Participant, call: () => void): void {
  try {
    call();
  } catch (cause) {
    participant.threw(cause);
  }
}

function startsAnyOf({ create, effects }: Transition, refused: PinRefusedError['refused']): boolean {
  return (create !== null && refused.has(create.id)) || effects?.children.some(({ id }) => refused.has(id)) === true;
}

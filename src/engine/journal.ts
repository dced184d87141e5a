import { PinRefusedError, RefusedDataError, sizeOf } from '../store/transition.ts';
import type { CommitResult, TaskKey, Transition } from '../store/transition.ts';
import type { Clock } from './clock.ts';
import { GroupCommit } from './group-commit.ts';
import type { BatchPlace } from './commit-lane.ts';
import type { Logger } from './logger.ts';

/** A source of changes that are to become durable: one owned execution, or one submission. */
export interface Participant {
  readonly id: string;
  /** All changes since the last call, as one transition; undefined if there are none. */
  transition(): Transition | undefined;
  /** The last transition is durable. `held`: but the execution was not released, since messages have come. `moved`: created for any runner. `taken`: see CommitResult. */
  committed(how: 'written' | 'held' | 'moved', taken: readonly TaskKey[]): void;
  /** This runner does not own the execution any longer; nothing was written. */
  lost(): void;
  /** The database will never take the last transition as it is, or (PinRefusedError) a version that it starts is gone; nothing of it was written. */
  refused(cause: unknown): void;
  /** One of the calls above has thrown. That costs the participant, and not the journal. Never throws. */
  threw(cause: unknown): void;
}

export interface JournalOptions {
  /** The number of commits that may be under way at a time. */
  readonly lanes: number;
  readonly commit: (place: BatchPlace, transitions: readonly Transition[]) => Promise<CommitResult>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The runner was declared dead. */
  readonly onFenced: () => void;
  /** The database went away or came back. */
  readonly onAway: (away: boolean) => void;
  /** The time (monotonic, ms) since which a commit has had no answer has changed; undefined while none waits. */
  readonly onWaits?: (since: number | undefined) => void;
}

/** Group commit of the executions that a runner owns. */
export class Journal extends GroupCommit<Participant, Transition, CommitResult> {
  constructor({ commit, logger, ...options }: JournalOptions) {
    super({
      ...options,
      logger,
      noun: 'commits',
      change: transitionOf,
      sizeOf,
      write: commit,
      written: settle,
      refused: (participant, cause) => {
        if (!(cause instanceof PinRefusedError))
          logger.error({ execution: participant.id, error: cause }, 'the database refuses a change of an execution');
        guarded(participant, () => participant.refused(cause));
      },
      refusedBy,
    });
  }
}

const none: readonly TaskKey[] = [];

function transitionOf(participant: Participant): Transition | undefined {
  let transition: Transition | undefined;
  guarded(participant, () => (transition = participant.transition()));
  return transition;
}

function settle(participants: readonly Participant[], result: CommitResult): void {
  const plain = result.lost.length + result.kept.length + result.moved.length === 0;
  for (const participant of participants) {
    const { id } = participant;
    const taken = result.offersTaken.length === 0 ? none : result.offersTaken.filter((offer) => offer.id === id);
    guarded(participant, () => {
      if (plain) participant.committed('written', taken);
      else if (result.lost.includes(id)) participant.lost();
      else if (result.kept.includes(id)) participant.committed('held', taken);
      else participant.committed(result.moved.includes(id) ? 'moved' : 'written', taken);
    });
  }
}

function refusedBy(
  error: unknown,
): { readonly isRefused: (transition: Transition) => boolean; readonly cause: unknown } | undefined {
  if (error instanceof RefusedDataError) return { isRefused: ({ id }) => id === error.id, cause: error.cause };
  if (!(error instanceof PinRefusedError)) return undefined;
  return { isRefused: (transition) => startsAnyOf(transition, error.refused), cause: error };
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

import { StoreRefusedError } from '../../core/error.ts';
import { PinRefusedError } from '../../store/transition.ts';
import type { NewExecution, Transition } from '../../store/transition.ts';
import { TransitionDraft } from '../execution/draft.ts';
import type { Participant } from '../journal.ts';

/** The error of a start that the store refuses. */
export function startRefusal(id: string, cause: unknown): Error {
  return cause instanceof PinRefusedError
    ? cause
    : new StoreRefusedError(`the database refuses execution '${id}'`, cause);
}

/** An execution that is handed in for anyone to take: the journal makes it durable with whatever else is due. */
export class Submission implements Participant {
  readonly id: string;
  readonly #create: NewExecution;
  readonly #onDurable: () => void;
  readonly #onRefused: (cause: unknown) => void;

  constructor(create: NewExecution, onDurable: () => void, onRefused: (cause: unknown) => void) {
    this.id = create.id;
    this.#create = create;
    this.#onDurable = onDurable;
    this.#onRefused = onRefused;
  }

  transition(): Transition {
    const pending = new TransitionDraft();
    pending.create = this.#create;
    pending.event('execution.created', this.#create.createdAt);
    return pending.transition(this.id, 0, 0, 0);
  }

  committed(): void {
    this.#onDurable();
  }

  lost(): void {
    this.#onRefused(new Error('a new execution has no other owner'));
  }

  refused(cause: unknown): void {
    this.#onRefused(startRefusal(this.id, cause));
  }

  threw(cause: unknown): void {
    this.#onRefused(cause);
  }
}

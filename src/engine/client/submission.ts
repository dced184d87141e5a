import type { NewExecution, Transition } from '../../store/transition.ts';
import { TransitionDraft } from '../execution/draft.ts';
import type { Participant } from '../journal.ts';

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
    this.#onRefused(cause);
  }

  threw(cause: unknown): void {
    this.#onRefused(cause);
  }
}

import type { Clock } from '../clock.ts';
import type { LiveState } from './live-state.ts';
import type { TaskRun } from './task-run.ts';

/** The tasks of one live execution that wait for a time: a retry, a sleep, a timeout. */
export class Waits {
  readonly #state: LiveState;
  readonly #clock: Clock;
  readonly #changed: () => void;
  readonly #onWake: (run: TaskRun) => void;

  constructor(state: LiveState, clock: Clock, changed: () => void, onWake: (run: TaskRun) => void) {
    this.#state = state;
    this.#clock = clock;
    this.#changed = changed;
    this.#onWake = onWake;
  }

  /** Lets a task wait until a time (epoch ms); it is woken once that is durable. */
  until(run: TaskRun, at: number): void {
    run.status = 'waiting';
    run.wakeAt = at;
    this.#state.draft.task(run);
    this.#state.after(() => this.resume(run));
  }

  /** Sets the timer of a task that waits, if it waits for a time. */
  resume(run: TaskRun): void {
    if (this.#state.still || run.status !== 'waiting' || run.wakeAt === null) return;
    run.timer?.cancel();
    run.timer = this.#clock.timer(Math.max(0, run.wakeAt - this.#clock.now()), () => this.#wake(run));
    this.#changed();
  }

  /** It cannot be woken just now. */
  later(run: TaskRun, ms: number): void {
    run.wakeAt = this.#clock.now() + ms;
    this.resume(run);
  }

  /** Nothing wakes by itself until `resumeAll`. */
  rest(): void {
    for (const run of this.#state.allRuns()) run.timer?.cancel();
  }

  resumeAll(): void {
    for (const run of this.#state.allRuns()) if (run.status === 'waiting') this.resume(run);
  }

  #wake(run: TaskRun): void {
    run.timer = undefined;
    if (this.#state.still || run.status !== 'waiting') return;
    run.wakeAt = null;
    this.#state.guard(() => {
      this.#onWake(run);
      this.#changed();
    });
  }
}

import type { Clock } from '../clock.ts';
import type { LiveState } from './live-state.ts';
import { idle } from './phase.ts';
import type { TaskRun } from './task-run.ts';

/** The tasks of one live execution that wait for a time: a retry, a sleep, a timeout. */
export class Waits {
  readonly #state: LiveState;
  readonly #clock: Clock;
  readonly #onWake: (run: TaskRun) => void;

  constructor(state: LiveState, clock: Clock, onWake: (run: TaskRun) => void) {
    this.#state = state;
    this.#clock = clock;
    this.#onWake = onWake;
  }

  /** Lets a task wait until a time (epoch ms). Its timer begins once that is durable. */
  until(run: TaskRun, at: number): void {
    run.status = 'waiting';
    run.wakeAt = at;
    this.#state.draft.task(run);
    this.#state.after(() => this.resume(run));
  }

  /** Lets a task wait for something else for so long at most (undefined or null: without end). Returns the time for its event. */
  within(run: TaskRun, timeoutMs: number | null | undefined, now: number): { readonly until?: string } {
    run.status = 'waiting';
    this.#state.draft.task(run);
    if (timeoutMs === undefined || timeoutMs === null) return {};
    this.until(run, now + timeoutMs);
    return { until: new Date(now + timeoutMs).toISOString() };
  }

  /** Sets the timer of a task that waits for a time, unless a question is open on its behalf. */
  resume(run: TaskRun): void {
    if (this.#state.still || run.status !== 'waiting' || run.wakeAt === null) return;
    if (run.phase.is !== 'idle' && run.phase.is !== 'waiting') return;
    const timer = this.#clock.timer(Math.max(0, run.wakeAt - this.#clock.now()), () => this.#wake(run));
    this.#state.move(run, { is: 'waiting', timer });
  }

  /** Cancels all timers until `resumeAll`. */
  rest(): void {
    for (const run of this.#state.allRuns()) if (run.phase.is === 'waiting') this.#state.move(run, idle);
  }

  resumeAll(): void {
    for (const run of this.#state.allRuns()) if (run.status === 'waiting') this.resume(run);
  }

  #wake(run: TaskRun): void {
    this.#state.move(run, idle);
    if (this.#state.still || run.status !== 'waiting') return;
    run.wakeAt = null;
    this.#state.guard(() => this.#onWake(run));
  }
}

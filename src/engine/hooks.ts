import type { EventType } from '../core/execution/event.ts';
import { parseJson } from '../core/json.ts';
import type { Json } from '../core/json.ts';
import type { NewEvent } from '../store/transition.ts';
import type { Logger } from './logger.ts';
import { unawaited } from './unawaited.ts';

/** A durable event of an execution owned here. */
export interface RunnerEvent {
  readonly executionId: string;
  readonly workflow: string;
  /** Without gaps within its execution, from 1. */
  readonly seq: number;
  readonly type: EventType;
  readonly task: string | null;
  readonly attempt: number | null;
  /** Epoch ms. */
  readonly at: number;
  readonly data: Json;
}

/** Progress reported by a task through `ctx.progress`. */
export interface TaskProgress {
  readonly executionId: string;
  readonly task: string;
  /** 0 to 1. */
  readonly done: number;
  readonly text: string | null;
}

export interface HooksOptions {
  readonly logger: Logger;
  readonly onEvent: ((event: RunnerEvent) => unknown) | null;
  readonly onProgress: (progress: TaskProgress) => unknown;
}

/** Calls the user's own callbacks. Their exceptions and rejections reach neither the journal nor a task. */
export class Hooks {
  readonly #options: HooksOptions;

  constructor(options: HooksOptions) {
    this.#options = options;
  }

  events(executionId: string, workflow: string, events: readonly NewEvent[]): void {
    const { onEvent } = this.#options;
    if (onEvent === null) return;
    for (const { seq, type, task, attempt, at, data } of events) {
      const event = { executionId, workflow, seq, type, task, attempt, at, data: parseJson(data) };
      this.#call('onEvent', () => onEvent(event));
    }
  }

  progress(progress: TaskProgress): void {
    this.#call('onProgress', () => this.#options.onProgress(progress));
  }

  #call(name: string, call: () => unknown): void {
    unawaited(call, (error) => this.#options.logger.error({ error }, `the hook ${name} threw an error`));
  }
}

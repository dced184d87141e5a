import type { Issue } from '../core/error.ts';
import type { TaskError } from '../core/task-error.ts';

/** One call of a task's code. All values are JSON text, as they are stored. */
export interface TaskCall {
  readonly executionId: string;
  readonly workflow: string;
  readonly task: string;
  /** The place of the item in a map; null for any other task. */
  readonly item: number | null;
  /** JSON text of that item; null for any other task. */
  readonly itemValue: string | null;
  readonly epoch: number;
  /** 1 for the first. */
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly input: string;
  /** Per alias the output of the need, or its outcome (`Settled`) where the need is settled. */
  readonly needs: readonly (readonly [alias: string, value: string])[];
  readonly schedule: { readonly name: string; readonly slot: number; readonly isCatchUp: boolean } | null;
  readonly maxPayload: number;
  /** A suspect: it runs in an isolate of its own, where there are isolates. */
  readonly alone: boolean;
}

/** What a running attempt may use of the engine. */
export interface TaskHost {
  /** Fires on timeout, cancel, shutdown and loss of the lease. Made on first use. */
  readonly signal: AbortSignal;
  /** The remembered result (JSON text) of a step, or undefined where it has none yet. */
  stepResult(name: string): Promise<string | undefined>;
  /** Resolves once the result is durable. Rejects where the attempt was given up. */
  saveStep(name: string, result: string): Promise<void>;
  /**
   * Runs a function in a transaction that ends the task with what the function gives, as `text` makes it; gives that text.
   * Absent where the code has no database.
   */
  transaction?(run: (tx: unknown) => unknown, text: (value: unknown) => string): Promise<string>;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, data: string | null): void;
  progress(done: number, text: string | null): void;
}

/** How a call of code ended. */
export type Outcome =
  | { readonly status: 'completed'; readonly output: string }
  | {
      readonly status: 'failed';
      readonly error: TaskError;
      /** False for NonRetryableError, and where the task's `retry.when` said no. */
      readonly retryable: boolean;
      /** From RetryAfterError, in ms. */
      readonly retryAfter: number | null;
    }
  /** The process that ran it ended. `alone`: nothing else ran in it, so the death is this call's own. */
  | { readonly status: 'lost'; readonly alone: boolean; readonly error: TaskError };

export type InputOutcome =
  | { readonly status: 'valid'; readonly input: string }
  | { readonly status: 'invalid'; readonly issues: readonly Issue[] }
  | { readonly status: 'lost'; readonly alone: boolean; readonly error: TaskError };

/** What the engine asks of code besides running it: a task's `when`, a map's `over`, a child's `input`, a sleep's `until`. */
export type Question = 'when' | 'over' | 'input' | 'until';

/** Where the functions of one workflow live: in this process, or in the isolate of a package. Its calls never reject. */
export interface WorkflowCode {
  run(call: TaskCall, host: TaskHost): Promise<Outcome>;
  /** The answer is JSON text in a completed outcome; a throw is a failed one, never retryable. */
  ask(question: Question, call: TaskCall): Promise<Outcome>;
  /** Parses the input (JSON text) with the workflow's schema: defaults filled, transforms applied. */
  parseInput(input: string, maxPayload: number): Promise<InputOutcome>;
  /** Checks the payload (JSON text) of a signal with the schema of the task that waits for it. */
  parseSignal(task: string, payload: string, maxPayload: number): Promise<InputOutcome>;
  /** Ends an attempt that ignored its signal, where that is possible; what ran beside it is lost with it. */
  abandon(call: TaskCall): void;
}

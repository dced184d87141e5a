import type { Issue } from '../core/error.ts';
import { toTaskError } from '../core/foreign/thrown.ts';
import type { TaskError } from '../core/task-error.ts';

/** One call of a task's function. All values are JSON text, as stored. */
export interface TaskCall {
  readonly executionId: string;
  readonly workflow: string;
  readonly task: string;
  /** The index of the item in a map; null for any other task. */
  readonly item: number | null;
  /** JSON text of that item; null for any other task. */
  readonly itemValue: string | null;
  readonly epoch: number;
  /** 1 for the first. */
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly input: string;
  /** By alias the output of each need, or its `Settled` if the need is settled. */
  readonly needs: readonly (readonly [alias: string, value: string])[];
  readonly schedule: { readonly name: string; readonly slot: number; readonly isCatchUp: boolean } | null;
  readonly maxPayload: number;
  /**
   * It runs in its own isolate, if there are isolates: a suspected poison task, or a question that was lost beside other
   * work.
   */
  readonly alone: boolean;
}

/** The engine's services for a running attempt. */
export interface TaskHost {
  /** Aborts on timeout, cancellation, shutdown and loss of the lease. Created on first use. */
  readonly signal: AbortSignal;
  /** Returns the stored result (JSON text) of a step, or undefined. */
  stepResult(name: string): Promise<string | undefined>;
  /** Resolves once the result is durable. Rejects if the attempt was abandoned. */
  saveStep(name: string, result: string): Promise<void>;
  /**
   * Runs a function in a transaction that also completes the task with the function's result, converted by `text`;
   * returns that text. Absent if the code has no database.
   */
  transaction?(run: (tx: unknown) => unknown, text: (value: unknown) => string): Promise<string>;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, data: string | null): void;
  progress(done: number, text: string | null): void;
}

/** The end of a call. */
export type Outcome =
  | { readonly status: 'completed'; readonly output: string }
  | {
      readonly status: 'failed';
      readonly error: TaskError;
      /** False for NonRetryableError, and if the task's `retry.when` returned false. */
      readonly retryable: boolean;
      /** From RetryAfterError, in ms. */
      readonly retryAfter: number | null;
    }
  /** The process of the call ended. `alone`: no other call ran in it, so this call is to blame. */
  | { readonly status: 'lost'; readonly alone: boolean; readonly error: TaskError };

export type InputOutcome =
  | { readonly status: 'valid'; readonly input: string }
  | { readonly status: 'invalid'; readonly issues: readonly Issue[] }
  | { readonly status: 'lost'; readonly alone: boolean; readonly error: TaskError };

/**
 * The questions to code besides running a task: a task's `when`, a map's `over`, a child's `input`, a sleep's `until`.
 */
export type Question = 'when' | 'over' | 'input' | 'until';

/** The functions of one workflow: in this process, or in the isolate of a package. Its calls never reject. */
export interface WorkflowCode {
  run(call: TaskCall, host: TaskHost): Promise<Outcome>;
  /** The answer is JSON text in a completed outcome; an exception is a failed one, never retryable. */
  ask(question: Question, call: TaskCall): Promise<Outcome>;
  /** Parses the input (JSON text) with the workflow's schema: defaults filled, transforms applied. `alone`: see `TaskCall`. */
  parseInput(input: string, maxPayload: number, alone: boolean): Promise<InputOutcome>;
  /** Validates the payload (JSON text) of a signal with the schema of the task that waits for it. */
  parseSignal(task: string, payload: string, maxPayload: number, alone: boolean): Promise<InputOutcome>;
  /** Ends an attempt that ignored its signal, if possible; other calls in the same process are lost with it. */
  abandon(call: TaskCall): void;
}

type Lost = Extract<Outcome, { readonly status: 'lost' }>;

/** A process that ends so often with no other work in it, and not by the question, is not there to answer. */
const maxTries = 5;

/**
 * Asks user code a question. If its process ended with other work in it, the question is asked again, alone: other work that
 * crashes processes does not fail it. Never rejects: a fault on the way to the code fails the task that asked, not the
 * process with all other tasks.
 */
export async function untilAnswered<T extends Outcome | InputOutcome>(
  ask: (alone: boolean) => Promise<T>,
): Promise<T | Lost> {
  for (let tries = 1; ; tries++) {
    let outcome: T;
    try {
      outcome = await ask(tries > 1);
    } catch (error) {
      return { status: 'lost', alone: true, error: toTaskError(error, 'INTERNAL') };
    }
    if (outcome.status !== 'lost' || outcome.alone || tries === maxTries) return outcome;
  }
}

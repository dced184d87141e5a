import type { Json } from '../json.ts';

/**
 * A workflow as plain JSON: everything an engine needs to own an execution without its code. Functions are only marked
 * (`when: true`). A package's manifest carries specs as `workflows[]`; an embedded workflow has one too. Durations are
 * milliseconds.
 */
export interface WorkflowSpec {
  readonly name: string;
  readonly description: string | null;
  /** JSON Schema (draft 2020-12) of the input; null if the schema library has no export. */
  readonly input: Json;
  readonly output: { readonly task: string; readonly settled: boolean } | null;
  readonly failFast: boolean;
  readonly concurrency: { readonly limit: number; readonly key: string | null } | null;
  readonly retention: number | null;
  readonly fingerprint: string;
  /** In the order of definition. */
  readonly tasks: readonly TaskSpec[];
  readonly schedules: readonly ScheduleSpec[];
}

export type TaskKind = 'task' | 'map' | 'child' | 'sleep' | 'wait';

export interface NeedSpec {
  readonly task: string;
  readonly settled: boolean;
}

export interface RetrySpec {
  readonly attempts: number;
  readonly backoff: 'exponential' | 'linear' | 'fixed';
  readonly delay: number;
  readonly maxDelay: number;
  /** A share of the delay, 0 to 1. */
  readonly jitter: number;
  /** True if a function decides which errors are retried. */
  readonly when: boolean;
}

/**
 * One task. `timeout` and `retry` are of the attempts, and null for the kinds that have none (sleep, wait, child). A child
 * without a timeout has no such key, so that manifests which were packed before there was one stay as they are.
 */
export interface TaskSpec {
  readonly name: string;
  readonly kind: TaskKind;
  readonly description: string | null;
  readonly needs: { readonly [alias: string]: NeedSpec };
  readonly when: boolean;
  readonly timeout: number | null;
  readonly queue: string | null;
  readonly retry: RetrySpec | null;
  readonly map: { readonly concurrency: number | null; readonly settled: boolean } | null;
  readonly child: { readonly workflow: string; readonly timeout?: number } | null;
  readonly sleep: { readonly for: number } | { readonly until: true } | null;
  readonly wait: { readonly signal: string; readonly schema: Json; readonly timeout: number | null } | null;
}

export type Overlap = 'skip' | 'buffer_one' | 'allow' | 'cancel_other';
export type Catchup = 'latest' | 'skip' | 'all';

/**
 * Fire times of a schedule: exactly one of `cron`, `every` (ms) and `at` (epoch ms) is not null. Times are epoch ms.
 */
export interface ScheduleRule {
  readonly cron: string | null;
  readonly every: number | null;
  readonly at: number | null;
  readonly timezone: string;
  readonly startAt: number | null;
  readonly endAt: number | null;
  readonly jitter: number;
  readonly overlap: Overlap;
  readonly catchup: Catchup;
  /** For catchup `all`: maximum number of missed slots that start. */
  readonly max: number;
  /** Slots older than this many ms are missed. */
  readonly window: number;
}

export interface ScheduleSpec extends ScheduleRule {
  readonly name: string;
  readonly input: Json;
  readonly paused: boolean;
}

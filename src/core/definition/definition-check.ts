import type { MapOptions, NodeOptions, Retry, ScheduleOptions, WorkflowOptions, WorkOptions } from './definition.ts';
import { OptionInvalidError, ScheduleInvalidError } from '../error.ts';
import { anything, callable, flag, optionFault, queueName, record, text } from '../option-check.ts';
import type { Kind, Kinds, OptionFault } from '../option-check.ts';
import { isSchema } from './schema.ts';
import type { TaskKind } from './spec.ts';

type Work = WorkOptions<string, never, {}>;
type Mapped = MapOptions<string, never, {}, unknown>;

const schema: Kind = {
  what: 'a Standard Schema (zod, valibot, arktype, ...); unchecked() accepts any input',
  fits: isSchema,
};

const node: Kinds<NodeOptions<string, never, {}>> = { needs: record, when: callable, description: text };
const work: Kinds<Work> = { ...node, retry: record, timeout: anything, queue: queueName };
const mapped: Kinds<Mapped> & { readonly settled: Kind } = {
  ...work,
  over: callable,
  concurrency: anything,
  settled: flag,
};

const byKind: Readonly<Record<TaskKind, Readonly<Record<string, Kind>>>> = {
  task: work,
  map: mapped,
  child: { ...node, input: callable, timeout: anything },
  wait: { ...node, signal: anything, schema, timeout: anything },
  sleep: { ...node, for: anything, until: callable },
};

const whole: Kinds<WorkflowOptions<unknown>> = {
  input: schema,
  description: text,
  failFast: flag,
  concurrency: record,
  retention: anything,
};
const limit: Kinds<NonNullable<WorkflowOptions<unknown>['concurrency']>> = { limit: anything, key: text };
const retry: Kinds<Retry> = {
  attempts: anything,
  backoff: anything,
  delay: anything,
  maxDelay: anything,
  jitter: anything,
  when: callable,
};
const schedule: Kinds<ScheduleOptions<unknown>> = {
  cron: anything,
  every: anything,
  at: anything,
  timezone: anything,
  input: anything,
  overlap: anything,
  catchup: anything,
  max: anything,
  window: anything,
  paused: anything,
  jitter: anything,
  startAt: anything,
  endAt: anything,
};

/** Returns the first fault in the options of a workflow as a sentence, or null. */
export function workflowFault(options: WorkflowOptions<unknown>): string | null {
  const fault = optionFault(options, whole);
  if (fault !== null) return sentence(fault);
  const inner = options.concurrency === undefined ? null : optionFault(options.concurrency, limit);
  return inner === null ? null : sentence({ ...inner, option: `concurrency.${inner.option}` });
}

/** Returns the first fault in the options of a task as a sentence, or null. */
export function taskFault(kind: TaskKind, name: string, options: unknown): string | null {
  const fault = optionFault(options, byKind[kind]);
  return fault === null ? null : `${kind} '${name}': ${sentence(fault)}`;
}

/** Throws OPTION_INVALID; `place` begins the option's name. */
export function checkRetry(given: unknown, place: string): void {
  const fault = optionFault(given, retry);
  if (fault !== null) throw new OptionInvalidError(`${place}.${fault.option}`, fault.message);
}

/** Refuses unknown options of a schedule; `scheduleRule` checks their values. Throws SCHEDULE_INVALID. */
export function checkScheduleOptions(workflow: string, name: string, options: unknown): void {
  const fault = optionFault(options, schedule);
  if (fault === null) return;
  throw new ScheduleInvalidError(fault.option, `${fault.message} (schedule '${name}' of workflow '${workflow}')`);
}

function sentence({ option, message }: OptionFault): string {
  return `option '${option}': ${message}`;
}

import type { MapOptions, NodeOptions, Retry, ScheduleOptions, WorkflowOptions, WorkOptions } from './definition.ts';
import { OptionInvalidError, ScheduleInvalidError } from './error.ts';
import { any, callable, flag, optionFault, record, text } from './option-check.ts';
import type { Kind, Kinds, OptionFault } from './option-check.ts';
import { isSchema } from './schema.ts';
import type { TaskKind } from './spec.ts';

type Work = WorkOptions<string, never, {}>;
type Mapped = MapOptions<string, never, {}, unknown>;

const schema: Kind = {
  what: 'a Standard Schema; zod, valibot and others make them, and unchecked() makes one that takes anything',
  fits: isSchema,
};

const node: Kinds<NodeOptions<string, never, {}>> = { needs: record, when: callable, description: text };
const work: Kinds<Work> = { ...node, retry: record, timeout: any, queue: text };
const mapped: Kinds<Mapped> & { readonly settled: Kind } = { ...work, over: callable, concurrency: any, settled: flag };

const byKind: Readonly<Record<TaskKind, Readonly<Record<string, Kind>>>> = {
  task: work,
  map: mapped,
  child: { ...node, input: callable },
  wait: { ...node, signal: any, schema, timeout: any },
  sleep: { ...node, for: any, until: callable },
};

const whole: Kinds<WorkflowOptions<unknown>> = {
  input: schema,
  description: text,
  failFast: flag,
  concurrency: record,
  retention: any,
};
const limit: Kinds<NonNullable<WorkflowOptions<unknown>['concurrency']>> = { limit: any, key: text };
const retry: Kinds<Retry> = { attempts: any, backoff: any, delay: any, maxDelay: any, jitter: any, when: callable };
const schedule: Kinds<ScheduleOptions<unknown>> = {
  cron: any,
  every: any,
  at: any,
  timezone: any,
  input: any,
  overlap: any,
  catchup: any,
  max: any,
  window: any,
  paused: any,
  jitter: any,
  startAt: any,
  endAt: any,
};

/** What is wrong with the options of a workflow, as a sentence; null where nothing is. */
export function workflowFault(options: WorkflowOptions<unknown>): string | null {
  const fault = optionFault(options, whole);
  if (fault !== null) return sentence(fault);
  const inner = options.concurrency === undefined ? null : optionFault(options.concurrency, limit);
  return inner === null ? null : sentence({ ...inner, option: `concurrency.${inner.option}` });
}

/** The same for a task. */
export function taskFault(kind: TaskKind, name: string, options: unknown): string | null {
  const fault = optionFault(options, byKind[kind]);
  return fault === null ? null : `${kind} '${name}': ${sentence(fault)}`;
}

/** Throws OPTION_INVALID; `place` begins the option's name. */
export function checkRetry(given: unknown, place: string): void {
  const fault = optionFault(given, retry);
  if (fault !== null) throw new OptionInvalidError(`${place}.${fault.option}`, fault.message);
}

/** Refuses what is no option of a schedule; their values are checked elsewhere. Throws SCHEDULE_INVALID. */
export function checkScheduleOptions(workflow: string, name: string, options: unknown): void {
  const fault = optionFault(options, schedule);
  if (fault === null) return;
  throw new ScheduleInvalidError(fault.option, `${fault.message} (schedule '${name}' of workflow '${workflow}')`);
}

function sentence({ option, message }: OptionFault): string {
  return `option '${option}': ${message}`;
}

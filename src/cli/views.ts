import type {
  ExecutionDetail,
  ExecutionEvent,
  ExecutionLog,
  ExecutionSummary,
  TaskSummary,
} from '../engine/client/execution-queries.ts';
import type { Json } from '../core/json.ts';
import type { Asked } from '../package/load/grants.ts';
import type { Registered } from '../package/registry/registry.ts';
import type { PackageView, PackageItem } from '../package/registry/views.ts';
import type { WorkflowEntry } from '../engine/client/workflows.ts';
import type { ScheduleDetail, ScheduleSummary, SlotSummary } from '../schedule/schedules.ts';

// The documents of `--json`: results of the library with epoch ms as ISO 8601. Fields may be added, never removed.

/** Epoch ms as ISO 8601 in UTC. */
export function iso(at: number): string;
export function iso(at: number | null): string | null;
export function iso(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}

export function executionItem(execution: ExecutionSummary): object {
  const { id, workflow, package: from, version, status, reason, createdAt, startedAt, endedAt } = execution;
  const { error, parent } = execution;
  const times = { createdAt: iso(createdAt), startedAt: iso(startedAt), endedAt: iso(endedAt) };
  return { id, workflow, package: from, version, status, reason, ...times, error, parent };
}

export function executionDocument(execution: ExecutionDetail): object {
  const { input, output, priority, tags, runner, schedule, forked, tasks } = execution;
  return {
    ...executionItem(execution),
    input,
    output,
    priority,
    tags,
    runner,
    schedule: schedule === null ? null : { ...schedule, slot: iso(schedule.slot) },
    forked,
    tasks: tasks.map(taskDocument),
  };
}

function taskDocument({ startedAt, endedAt, ...task }: TaskSummary): object {
  return { ...task, startedAt: iso(startedAt), endedAt: iso(endedAt) };
}

export function eventDocument({ seq, type, task, item, attempt, at, data }: ExecutionEvent): object {
  return { seq, type, task, item, attempt, at: iso(at), data };
}

export function logDocument({ task, item, attempt, at, level, message, data }: ExecutionLog): object {
  return { task, item, attempt, at: iso(at), level, message, data };
}

export function packageItemDocument(item: PackageItem): object {
  const { id, name, version, digest, bytes, active, status, registeredAt } = item;
  return { id, name, version, digest, active, status, bytes, registeredAt: iso(registeredAt) };
}

export function packageDocument({ name, channels, versions }: PackageView): object {
  return {
    name,
    channels,
    versions: versions.map((version) => ({
      ...version,
      registeredAt: iso(version.registeredAt),
      runners: version.runners.map((runner) => ({
        ...runner,
        conditions: runner.conditions.map((condition) => ({ ...condition, at: iso(condition.at) })),
      })),
    })),
  };
}

export function registeredDocument({ head, asks, ...done }: Registered): object {
  const { id, name, version, digest, created, activated, restored, ambiguous } = done;
  const at = head === null ? null : { channel: head.channel, version: head.version, serial: head.serial };
  const wanted = head === null || head.wantedVersion === null ? {} : { wanted: head.wantedVersion };
  const points = at === null ? null : { ...at, ...wanted };
  return {
    id,
    name,
    version,
    digest,
    created,
    activated,
    restored,
    head: points,
    asks: askedDocument(asks),
    ambiguous,
  };
}

export function askedDocument({ net, env, added }: Asked): { readonly [field: string]: Json } {
  return {
    net: typeof net === 'boolean' ? net : [...net],
    env: [...env],
    added: { net: added.net, env: [...added.env] },
  };
}

function mark(isNew: boolean): string {
  return isNew ? ' (new)' : '';
}

/** `network; env: PRICES_TOKEN, STRIPE_KEY (new)` after a head; '' if the package asks for nothing. */
export function askedText({ net, env, added }: Asked, head: string): string {
  const hosts = typeof net === 'boolean' ? '' : ` to ${net.join(', ')}`;
  const parts = [
    ...(net === false || (typeof net !== 'boolean' && net.length === 0) ? [] : [`network${hosts}${mark(added.net)}`]),
    ...(env.length === 0 ? [] : [`env: ${env.map((name) => `${name}${mark(added.env.includes(name))}`).join(', ')}`]),
  ];
  return parts.length === 0 ? '' : `${head}${parts.join('; ')}`;
}

export function workflowItem({ name, package: from, version, spec }: WorkflowEntry): object {
  return { name, package: from, version, tasks: spec.tasks.map((task) => task.name) };
}

export function workflowDocument({ name, package: from, version, spec }: WorkflowEntry): object {
  return {
    name,
    package: from,
    version,
    description: spec.description,
    input: spec.input,
    output: spec.output,
    tasks: spec.tasks.map((task) => ({
      name: task.name,
      kind: task.kind,
      needs: [...new Set(Object.values(task.needs).map((need) => need.task))],
      description: task.description,
    })),
    schedules: spec.schedules.map((schedule) => ({
      ...schedule,
      at: iso(schedule.at),
      startAt: iso(schedule.startAt),
      endAt: iso(schedule.endAt),
    })),
  };
}

export function scheduleItem(schedule: ScheduleSummary): object {
  const { id, name, owner, workflow, cron, every, at, timezone, overlap, catchup, paused, enabled } = schedule;
  const when = { cron, every, at: iso(at), timezone };
  const times = { next: iso(schedule.next), last: iso(schedule.last) };
  return { id, name, owner, workflow, ...when, overlap, catchup, paused, enabled, ...times };
}

export function scheduleDocument(schedule: ScheduleDetail): object {
  const { startAt, endAt, jitter, max, window, input, createdAt, updatedAt } = schedule;
  const bounds = { startAt: iso(startAt), endAt: iso(endAt), jitter, max, window };
  return { ...scheduleItem(schedule), ...bounds, input, createdAt: iso(createdAt), updatedAt: iso(updatedAt) };
}

export function slotDocument(row: SlotSummary): object {
  return { ...row, slot: iso(row.slot), through: iso(row.through), startedAt: iso(row.startedAt) };
}

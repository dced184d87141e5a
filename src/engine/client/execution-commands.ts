import {
  ExecutionEndedError,
  ExecutionNotFoundError,
  ExecutionStateError,
  OptionInvalidError,
  PackageNotFoundError,
  SignalInvalidError,
  SignalUnknownError,
  TaskNotFoundError,
} from '../../core/error.ts';
import { compileGraph, downstream } from '../../core/definition/graph.ts';
import type { Graph } from '../../core/definition/graph.ts';
import { changedTasks, differenceText, toReset } from '../../core/execution/continuing.ts';
import { limitKey } from '../../core/execution/limit-key.ts';
import { parseJson, stringifyJson } from '../../core/json.ts';
import { checkOptions, flag, text } from '../../core/option-check.ts';
import type { Kinds } from '../../core/option-check.ts';
import { nearNames } from '../../core/suggest.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { checkText } from '../../core/text.ts';
import type { TaskState } from '../../store/transition.ts';
import { settledTime } from '../clock.ts';
import type { Definitions, Delivery, ExecutionRecord, Reads, Repin, Retry, Inbox } from '../../store/store.ts';
import type { Clock } from '../clock.ts';
import { newExecution, resolveWorkflow } from './start.ts';
import type { ResolvedWorkflow, Resolving } from './start.ts';

export interface ControlOptions extends Resolving {
  readonly store: Inbox & Definitions & Reads;
  readonly tenant: string;
  readonly clock: Clock;
  readonly maxPayload: number;
  /** The definition that an execution was started with; undefined where that is not known any more. */
  readonly specOf: (record: ExecutionRecord) => Promise<WorkflowSpec | undefined>;
}

/** An execution that a runner may take, and the build that it needs. */
interface Taken {
  readonly rootId: string;
  readonly buildId: string;
}

/** The version of its package that an execution continues with, or a fork of it starts with; default its own. */
export interface VersionChoice {
  /** A version such as `1.0.1`, a digest, or a channel. */
  readonly version?: string;
  /** True: the version that the live channel points to. */
  readonly live?: boolean;
}

/** What a request made of an execution: its state now, or what its owner is about to make of it. */
export interface Controlled {
  readonly id: string;
  readonly status: string;
}

/** What people ask of an execution, whoever owns it. All throw EXECUTION_NOT_FOUND and, where it has ended, EXECUTION_ENDED. */
export class Control {
  readonly #options: ControlOptions;

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  async cancel(id: string): Promise<Controlled> {
    checkId(id);
    return taken(id, await this.#options.store.cancel(id, this.#options.tenant), 'cancel', 'cancelling');
  }

  async pause(id: string): Promise<Controlled> {
    checkId(id);
    return taken(id, await this.#options.store.pause(id, this.#options.tenant), 'pause', 'pausing');
  }

  async resume(id: string): Promise<Controlled> {
    checkId(id);
    return taken(id, await this.#options.store.resume(id, this.#options.tenant), 'resume', 'running');
  }

  /** Throws SIGNAL_UNKNOWN, SIGNAL_INVALID, NOT_SERIALIZABLE, PAYLOAD_TOO_LARGE. */
  async signal(id: string, name: string, payload: unknown): Promise<Controlled> {
    const { store, tenant, maxPayload, specOf } = this.#options;
    checkText('signal', name);
    const json = stringifyJson(payload, `signal '${name}'`, maxPayload);
    const record = await this.#find(id);
    const spec = await specOf(record);
    if (spec !== undefined) await checkSignal(spec, name, json);
    return taken(id, await store.signal(id, tenant, name, json), 'signal', record.status);
  }

  /** Throws EXECUTION_STATE, PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE, WORKFLOW_NOT_FOUND, OPTION_INVALID, CONFLICT. */
  async retry(id: string, choice: VersionChoice): Promise<Controlled & Taken> {
    const { store, tenant } = this.#options;
    const record = await this.#find(id);
    const repin = await this.#repin(record, choice);
    const retry =
      repin === null
        ? { id, tenant, ...(await this.#changesOf(record)), repin }
        : { id, tenant, buildId: repin.to.digest, reset: [], gone: [], repin };
    const done = taken(id, await store.retry(retry), 'retry', 'pending');
    return { ...done, rootId: record.rootId, buildId: retry.buildId };
  }

  /** The build that continues an execution, and what begins again: another one only if the definition changed under it. */
  async #changesOf(record: ExecutionRecord): Promise<Pick<Retry, 'buildId' | 'reset' | 'gone'>> {
    const { store } = this.#options;
    const held = record.status === 'paused' && record.reason === 'DEFINITION_CHANGED';
    const now = held ? await store.newestDefinition(record.workflow) : undefined;
    if (now === undefined || now.buildId === record.buildId) return { buildId: record.buildId, reset: [], gone: [] };
    const before = await store.definition(record.buildId);
    const tasks = await store.tasks(record.id);
    const graph = compileGraph(now.spec);
    const reset = before === undefined ? tasks.map(({ task }) => task) : toReset(before, graph, tasks);
    return { buildId: now.buildId, reset, gone: reset.filter((task) => !graph.indexOf.has(task)) };
  }

  /**
   * The id of the new execution. Throws TASK_NOT_FOUND, PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE, WORKFLOW_NOT_FOUND,
   * EXECUTION_STATE, OPTION_INVALID.
   */
  async fork(
    id: string,
    { from, ...choice }: { readonly from: string } & VersionChoice,
  ): Promise<{ readonly id: string; readonly code: string; readonly status: string }> {
    const { store, tenant, clock, specOf } = this.#options;
    const record = await this.#find(id);
    const repin = await this.#repin(record, choice);
    const spec = repin?.now ?? (await specOf(record));
    if (spec === undefined) throw new ExecutionStateError(id, record.status, 'fork');
    const graph = compileGraph(spec);
    const task = graph.indexOf.get(from);
    if (task === undefined) throw new TaskNotFoundError(record.workflow, from, nearNames(from, graph.names));
    const pin = repin?.to ?? record.pin;
    const buildId = repin?.to.digest ?? record.buildId;
    const pinBy = repin === null ? 'origin' : 'named';
    const resolved: ResolvedWorkflow = { spec, buildId, pin, code: null, pinBy };
    const tags = (parseJson(record.tags) ?? {}) as Record<string, string>;
    const create = newExecution({
      resolved,
      input: { text: record.input, parsed: record.inputParsed, given: record.input },
      options: { priority: record.priority, tags },
      tenant,
      now: await settledTime(clock),
    });
    const keep = kept(graph, task, await store.tasks(id));
    if (repin !== null) checkKept(record, repin, keep);
    taken(id, await store.fork({ create, from: { id, task: from }, keep }), 'fork', 'pending');
    return { id: create.id, code: create.buildId, status: 'pending' };
  }

  /** The version that was chosen for an execution; null where that is its own. */
  async #repin(record: ExecutionRecord, choice: VersionChoice): Promise<Repin | null> {
    const at = chosenVersion(choice);
    if (at === null) return null;
    const { id, status, workflow, pin, tenant, input } = record;
    if (pin === null) {
      const why = `execution '${id}' is of the embedded workflow '${workflow}', which has no versions`;
      throw new OptionInvalidError('version', `${why}; a runner with the new definition continues it`);
    }
    const other = await resolveWorkflow(this.#options, `${pin.package}@${at}/${workflow}`);
    if (other.pin === null || other.pin.digest === pin.digest) return null;
    const before = await this.#options.specOf(record);
    if (before === undefined) throw new ExecutionStateError(id, status, 'fork');
    return {
      from: pin,
      to: other.pin,
      before,
      now: other.spec,
      limitKey: limitKey(other.spec, pin.package, tenant, input),
    };
  }

  async #find(id: string): Promise<ExecutionRecord> {
    checkId(id);
    const record = await this.#options.store.execution(id);
    if (record === undefined || record.tenant !== this.#options.tenant) throw new ExecutionNotFoundError(id);
    return record;
  }
}

function chosenVersion(choice: VersionChoice): string | null {
  checkOptions(choice, versionKinds);
  const { version, live = false } = choice;
  if (version === undefined) return live ? 'live' : null;
  if (live) throw new OptionInvalidError('live', `it excludes the option version (${version}); pass one of them`);
  return version;
}

export const versionKinds: Kinds<VersionChoice> = { version: text, live: flag };

/** Throws EXECUTION_STATE if the other version has tasks whose outcomes are kept with another kind or other needs. */
function checkKept({ id, status }: ExecutionRecord, { to, before, now }: Repin, keep: readonly string[]): void {
  const changed = changedTasks(before, now, keep);
  if (changed.length === 0) return;
  const what = `it cannot be forked with ${to.package} v${to.version}, which differs in tasks whose outcomes a fork keeps`;
  throw new ExecutionStateError(id, status, 'fork', `${what}: ${differenceText(before, now, changed)}`);
}

/** The tasks whose outcome a fork takes over: completed, or skipped by their own `when`, and not after anything that runs again. */
function kept(graph: Graph, from: number, tasks: readonly TaskState[]): string[] {
  const fixed = new Map<number, TaskState>();
  for (const state of tasks) {
    const index = graph.indexOf.get(state.task);
    if (index === undefined || state.item !== -1) continue;
    if (state.status === 'completed' || state.reason === 'when_false') fixed.set(index, state);
  }
  const again = [...graph.names.keys()].filter((index) => index === from || !fixed.has(index));
  const runs = downstream(graph, again);
  return [...fixed.keys()].filter((index) => !runs.has(index)).map((index) => graph.names[index]!);
}

/** Throws OPTION_INVALID. */
export function checkId(id: unknown): void {
  if (typeof id !== 'string') throw new OptionInvalidError('id', 'an execution id must be a string');
}

async function checkSignal(spec: WorkflowSpec, name: string, payload: string): Promise<void> {
  const waits = spec.tasks.flatMap(({ wait }) => wait ?? []);
  const takers = waits.filter(({ signal }) => signal === name);
  if (takers.length === 0) {
    const names = waits.map(({ signal }) => signal);
    throw new SignalUnknownError(spec.name, name, nearNames(name, names), names);
  }
  if (takers.some(({ schema }) => schema === null)) return;
  const { jsonSchemaIssues } = await import('../../core/json-schema/issues.ts');
  const issues = takers.map(({ schema }) => jsonSchemaIssues(schema, parseJson(payload)));
  if (issues.every((list) => list.length > 0)) throw new SignalInvalidError(name, issues[0]!);
}

/** What became of a request, or the error for one that was not taken. */
function taken(id: string, delivery: Delivery, what: string, sent: string): Controlled {
  switch (delivery.status) {
    case 'sent':
      return { id, status: sent };
    case 'applied':
      return { id, status: delivery.as };
    case 'ended':
      throw new ExecutionEndedError(id, delivery.as);
    case 'refused':
      throw new ExecutionStateError(id, delivery.as, what);
    case 'package_gone':
      throw new PackageNotFoundError(delivery.package, delivery.version);
    default:
      throw new ExecutionNotFoundError(id);
  }
}

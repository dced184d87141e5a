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
import { parseJson, storedValue, stringifyJson } from '../../core/json.ts';
import { jsonSchemaIssues } from '../../core/json-schema.ts';
import { nearNames } from '../../core/suggest.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { checkText } from '../../core/text.ts';
import type { TaskState } from '../../store/transition.ts';
import type { Definitions, Delivery, ExecutionRecord, Reads, Inbox } from '../../store/store.ts';
import type { Clock } from '../clock.ts';
import { newExecution } from './start.ts';
import { toReset } from '../liveness/retired-builds.ts';

export interface ControlOptions {
  readonly store: Inbox & Definitions & Reads;
  readonly tenant: string;
  readonly clock: Clock;
  readonly maxPayload: number;
  /** The definition that an execution was started with; undefined where that is not known any more. */
  readonly specOf: (record: ExecutionRecord) => Promise<WorkflowSpec | undefined>;
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
    const text = stringifyJson(payload, `signal '${name}'`, maxPayload);
    const record = await this.#find(id);
    const spec = await specOf(record);
    if (spec !== undefined) checkSignal(spec, name, text);
    return taken(id, await store.signal(id, tenant, name, text), 'signal', record.status);
  }

  /** Throws EXECUTION_STATE, PACKAGE_NOT_FOUND. */
  async retry(id: string): Promise<Controlled> {
    const { store, tenant } = this.#options;
    const record = await this.#find(id);
    const held = record.status === 'paused' && record.reason === 'DEFINITION_CHANGED';
    const now = held ? await store.newestDefinition(record.workflow) : undefined;
    let code = record.buildId;
    let [reset, gone]: (readonly string[])[] = [[], []];
    if (now !== undefined && now.buildId !== record.buildId) {
      const before = await store.definition(record.buildId);
      const tasks = await store.tasks(id);
      const graph = compileGraph(now.spec);
      code = now.buildId;
      reset = before === undefined ? tasks.map(({ task }) => task) : toReset(before, graph, tasks);
      gone = reset.filter((task) => !graph.indexOf.has(task));
    }
    return taken(id, await store.retry({ id, tenant, buildId: code, reset: reset!, gone: gone! }), 'retry', 'pending');
  }

  /** The id of the new execution. Throws TASK_NOT_FOUND, PACKAGE_NOT_FOUND, WORKFLOW_NOT_FOUND. */
  async fork(
    id: string,
    from: string,
  ): Promise<{ readonly id: string; readonly code: string; readonly status: string }> {
    const { store, tenant, clock, specOf } = this.#options;
    const record = await this.#find(id);
    const spec = await specOf(record);
    if (spec === undefined) throw new ExecutionStateError(id, record.status, 'fork');
    const graph = compileGraph(spec);
    const task = graph.indexOf.get(from);
    if (task === undefined) throw new TaskNotFoundError(record.workflow, from, nearNames(from, graph.names));
    const resolved = { spec, buildId: record.buildId, pin: record.pin, code: null, keepsVersion: true };
    const tags = (storedValue(record.tags, `the list of tags of execution ${id}`) ?? {}) as Record<string, string>;
    const create = newExecution({
      resolved,
      input: { text: record.input, parsed: record.inputParsed, given: record.input },
      options: { priority: record.priority, tags },
      tenant,
      now: clock.now(),
    });
    const keep = kept(graph, task, await store.tasks(id));
    taken(id, await store.fork({ create, from: { id, task: from }, keep }), 'fork', 'pending');
    return { id: create.id, code: create.buildId, status: 'pending' };
  }

  async #find(id: string): Promise<ExecutionRecord> {
    checkId(id);
    const record = await this.#options.store.execution(id);
    if (record === undefined || record.tenant !== this.#options.tenant) throw new ExecutionNotFoundError(id);
    return record;
  }
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

function checkId(id: unknown): void {
  if (typeof id !== 'string') throw new OptionInvalidError('id', 'an execution id must be a string');
}

function checkSignal(spec: WorkflowSpec, name: string, payload: string): void {
  const waits = spec.tasks.flatMap(({ wait }) => wait ?? []);
  const takers = waits.filter(({ signal }) => signal === name);
  if (takers.length === 0) {
    const names = waits.map(({ signal }) => signal);
    throw new SignalUnknownError(spec.name, name, nearNames(name, names), names);
  }
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

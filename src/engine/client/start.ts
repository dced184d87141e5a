import { createHash } from 'node:crypto';
import { isDate } from '../../core/foreign/realms.ts';
import type { AnyWorkflow } from '../../core/definition/definition.ts';
import { durationMs } from '../../core/duration.ts';
import type { Duration } from '../../core/duration.ts';
import {
  AmbiguousWorkflowError,
  InputInvalidError,
  OptionInvalidError,
  WorkflowNotFoundError,
} from '../../core/error.ts';
import { compileGraph } from '../../core/definition/graph.ts';
import { canonicalJson, parseJson, stringifyJson } from '../../core/json.ts';
import type { Json } from '../../core/json.ts';
import { jsonSchemaIssues } from '../../core/json-schema.ts';
import { nearNames } from '../../core/suggest.ts';
import { anything, checkOptions, record, shown } from '../../core/option-check.ts';
import type { Kinds } from '../../core/option-check.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { checkText } from '../../core/text.ts';
import { isWorkflow } from '../../core/definition/workflow.ts';
import type { NewExecution, Pin, ScheduleMark } from '../../store/transition.ts';
import type { Definitions } from '../../store/store.ts';
import { embeddedBuildId } from '../catalog.ts';
import type { Catalog, LoadedWorkflow } from '../catalog.ts';
import { inlineCode } from '../inline.ts';
import type { WorkflowCode } from '../workflow-code.ts';
import { newId } from '../id.ts';

/** Options of a start. */
export interface StartOptions {
  /** Unique per tenant, workflow and key: the same key with the same input gives the same execution. */
  readonly idempotencyKey?: string;
  /** Higher first; default 0. */
  readonly priority?: number;
  /** A time, or a length of time from now; until then it waits. */
  readonly startAt?: Date | Duration;
  readonly tags?: Readonly<Record<string, string>>;
  /**
   * PostgreSQL: the caller's own transaction, in which it is started: it exists if and only if that commits. A `pg`
   * client, a transaction of Drizzle or Kysely, Prisma's interactive one, or what has `query(text, values)`.
   */
  readonly tx?: object;
}

/** What a workflow's name means now. */
export interface ResolvedWorkflow {
  readonly spec: WorkflowSpec;
  readonly buildId: string;
  readonly pin: Pin | null;
  /** Its functions, where this process has them. */
  readonly code: WorkflowCode | null;
  /** Whether its executions keep this version even where the channel has moved on. */
  readonly keepsVersion?: boolean;
}

/** A workflow whose definition this process holds, ready to run. Throws DEFINITION_INVALID. */
export function loadEmbedded(workflow: AnyWorkflow): LoadedWorkflow {
  const known = embedded.get(workflow);
  if (known !== undefined) return known;
  const graph = compileGraph(workflow.spec);
  const loaded = { graph, code: inlineCode(workflow), buildId: embeddedBuildId(graph), pin: null };
  embedded.set(workflow, loaded);
  return loaded;
}

const embedded = new WeakMap<AnyWorkflow, LoadedWorkflow>();

/** Throws OPTION_INVALID for what is no workflow, DEFINITION_INVALID. */
export function resolveEmbedded(workflow: AnyWorkflow): ResolvedWorkflow {
  if (!isWorkflow(workflow)) {
    throw new OptionInvalidError('workflow', `${shown(workflow)} is neither a workflow nor the name of one`);
  }
  const { graph, code, buildId, pin } = loadEmbedded(workflow);
  return { spec: graph.spec, buildId, pin, code };
}

/** Where a workflow's name is looked up. */
export interface Resolving {
  readonly store: Definitions;
  /** What a name may mean among packages. Throws AMBIGUOUS_WORKFLOW, PACKAGE_UNAVAILABLE. */
  readonly packaged: (name: string) => Promise<readonly ResolvedWorkflow[]>;
  /** All names there are, for the message when one is not found. */
  readonly names: () => Promise<readonly string[]>;
  /** Where this process also executes. */
  readonly engine: { readonly catalog: Catalog } | null;
}

/**
 * What a name means: `name`, `package/name` or `embedded/name`. Throws WORKFLOW_NOT_FOUND with near names,
 * AMBIGUOUS_WORKFLOW, PACKAGE_UNAVAILABLE.
 */
export async function resolveWorkflow(
  { store, packaged, names, engine }: Resolving,
  name: string,
): Promise<ResolvedWorkflow> {
  const short = name.startsWith('embedded/') ? name.slice('embedded/'.length) : name;
  // of an embedded one, the definition of this process; where it has none, the newest
  const own = engine?.catalog.embedded(short);
  const [found, newest] = await Promise.all([
    short === name ? packaged(name) : [],
    own === undefined ? store.newestDefinition(short) : undefined,
  ]);
  const candidates = [...found];
  if (own !== undefined) candidates.push({ spec: own.graph.spec, buildId: own.buildId, pin: null, code: own.code });
  if (newest !== undefined) candidates.push({ spec: newest.spec, buildId: newest.buildId, pin: null, code: null });
  const [only] = candidates;
  if (only === undefined) throw new WorkflowNotFoundError(name, nearNames(name, await names()));
  if (candidates.length === 1) return only;
  throw new AmbiguousWorkflowError(
    name,
    candidates.map(({ pin, spec }) => `${pin?.package ?? 'embedded'}/${spec.name}`),
  );
}

/** The input of an execution as JSON text, checked as far as this process can. */
export interface CheckedInput {
  readonly text: string;
  readonly parsed: boolean;
  /** As it was given. */
  readonly given: string;
}

/**
 * Checks an input: by the schema's own code where this process has it, else by the JSON Schema of the manifest.
 * Absent input is {}; null is null. Throws INPUT_INVALID, NOT_SERIALIZABLE, PAYLOAD_TOO_LARGE.
 */
export async function checkInput(
  resolved: ResolvedWorkflow,
  input: unknown,
  maxPayload: number,
): Promise<CheckedInput> {
  const text = stringifyJson(input === undefined ? {} : input, 'input', maxPayload);
  const { spec, code } = resolved;
  if (code !== null) {
    const outcome = await code.parseInput(text, maxPayload, false);
    if (outcome.status === 'invalid') throw new InputInvalidError(spec.name, outcome.issues);
    // where the code could not be asked, it is asked again before the first task
    if (outcome.status === 'valid') return { text: outcome.input, parsed: true, given: text };
    return { text, parsed: false, given: text };
  }
  const issues = jsonSchemaIssues(spec.input, parseJson(text));
  if (issues.length > 0) throw new InputInvalidError(spec.name, issues);
  return { text, parsed: false, given: text };
}

export interface StartRequest {
  readonly resolved: ResolvedWorkflow;
  readonly input: CheckedInput;
  readonly options: StartOptions;
  readonly tenant: string;
  readonly now: number;
  readonly schedule?: ScheduleMark;
  readonly id?: string;
}

/** What every database keeps in an integer column. */
const maxPriority = 2_147_483_647;

const startKinds: Kinds<StartOptions> = {
  idempotencyKey: anything,
  priority: anything,
  startAt: anything,
  tags: record,
  tx: anything,
};

const { idempotencyKey: _one, ...manyKinds } = startKinds;

/** Checks the options of several starts at once. Throws OPTION_INVALID. */
export function checkStartMany(inputs: unknown, options: unknown): void {
  if (!Array.isArray(inputs)) throw new OptionInvalidError('inputs', `${shown(inputs)} is not an array`);
  if (record.fits(options) && Object.hasOwn(options as object, 'idempotencyKey')) {
    const why = 'a key stands for one execution: use one start each';
    throw new OptionInvalidError('idempotencyKey', why);
  }
  checkOptions(options, manyKinds);
}

/** Puts a new execution together. Throws OPTION_INVALID. */
export function newExecution({
  resolved,
  input,
  options,
  tenant,
  now,
  schedule,
  id = newId(now),
}: StartRequest): NewExecution {
  checkOptions(options, startKinds);
  const { idempotencyKey = null, priority = 0, tags } = options;
  if (!Number.isInteger(priority) || Math.abs(priority) > maxPriority) {
    throw new OptionInvalidError(
      'priority',
      `${shown(priority)} is not a whole number from -${maxPriority} to ${maxPriority}`,
    );
  }
  if (idempotencyKey !== null) checkText('idempotencyKey', idempotencyKey);
  return {
    id,
    tenant,
    workflow: resolved.spec.name,
    pin: resolved.pin,
    buildId: resolved.buildId,
    priority,
    createdAt: now,
    owned: false,
    startAt: startTime(options.startAt, now),
    input: input.text,
    given: input.given === input.text ? null : input.given,
    inputParsed: input.parsed,
    tags: tags === undefined ? null : tagText(tags),
    idempotencyKey,
    inputHash: idempotencyKey === null ? null : inputHash(input.given),
    limitKey: limitKey(resolved, tenant, input.text),
    followsChannel: resolved.pin !== null && resolved.keepsVersion !== true,
    retention: resolved.spec.retention,
    rootId: id,
    depth: 0,
    parent: null,
    schedule: schedule ?? null,
  };
}

/** What counts against one limit: executions of a workflow, or those of them with the same value at a path of the input. */
function limitKey({ spec, pin }: ResolvedWorkflow, tenant: string, input: string): string | null {
  if (spec.concurrency === null) return null;
  const { key } = spec.concurrency;
  const value = key === null ? null : valueAt(parseJson(input), key);
  return JSON.stringify([tenant, pin?.package ?? null, spec.name, value]);
}

function valueAt(input: Json, path: string): Json {
  let value: unknown = input;
  for (const part of path.split('.')) {
    const isThere = typeof value === 'object' && value !== null && Object.hasOwn(value, part);
    value = isThere ? Reflect.get(value as object, part) : null;
  }
  const text = JSON.stringify(value);
  // a key is a text in an index: what is long is told apart by its hash
  return text.length <= 200 ? (value as Json) : createHash('sha256').update(text).digest('hex');
}

/** Of the input as it was given, keys in order: whoever asks, and whatever a schema fills in, it is the same. */
function inputHash(given: string): string {
  return createHash('sha256')
    .update(canonicalJson(parseJson(given)))
    .digest('hex');
}

function startTime(startAt: Date | Duration | undefined, now: number): number | null {
  if (startAt === undefined) return null;
  const at = isDate(startAt) ? startAt.getTime() : now + durationMs(startAt, 'startAt');
  if (Number.isNaN(at)) throw new OptionInvalidError('startAt', 'it is an invalid Date');
  return at > now ? at : null;
}

/** Each tag is a row of an index. */
const maxTags = 64;
const maxTagText = 16_384;

function tagText(tags: Readonly<Record<string, string>>): string {
  const entries = Object.entries(tags);
  if (entries.length > maxTags) {
    throw new OptionInvalidError('tags', `there are ${entries.length}; an execution may have ${maxTags}`);
  }
  for (const [name, value] of entries) {
    if (typeof value !== 'string') throw new OptionInvalidError('tags', `'${name}' is not a string`);
    checkText('tags', name);
    checkText('tags', value);
  }
  const text = JSON.stringify(tags);
  if (text.length <= maxTagText) return text;
  throw new OptionInvalidError(
    'tags',
    `together they have ${text.length} characters of JSON; at most ${maxTagText} are stored`,
  );
}

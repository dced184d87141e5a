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
import type { CloacinaError } from '../../core/error.ts';
import { compileGraph } from '../../core/definition/graph.ts';
import { limitKey } from '../../core/execution/limit-key.ts';
import { canonicalJson, parseJson, stringifyJson } from '../../core/json.ts';
import { nearNames } from '../../core/suggest.ts';
import { anything, checkOptions, record, shown } from '../../core/option-check.ts';
import type { Kinds } from '../../core/option-check.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { fullWorkflowName } from '../../core/definition/workflow-name.ts';
import { checkIndexed } from '../../core/text.ts';
import { isWorkflow } from '../../core/definition/workflow.ts';
import type { NewExecution, Pin, PinBy, ScheduleMark } from '../../store/transition.ts';
import type { Definitions } from '../../store/store.ts';
import { embeddedBuildId } from '../catalog.ts';
import type { Catalog, LoadedWorkflow } from '../catalog.ts';
import { inlineCode } from '../inline.ts';
import type { WorkflowCode } from '../workflow-code.ts';
import { newId } from '../id.ts';

/** Options of a start. */
export interface StartOptions {
  /**
   * At most 1,000 bytes of UTF-8. Unique per tenant, workflow and key: the same key with the same input gives the same
   * execution.
   */
  readonly idempotencyKey?: string;
  /** Higher first; default 0. */
  readonly priority?: number;
  /** A time, or a length of time from now; until then it waits. */
  readonly startAt?: Date | Duration;
  /** At most 64, and 1,000 bytes of UTF-8 for each name and each value. */
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
  /** The version that its executions are pinned to; default `channel`. */
  readonly pinBy?: PinBy;
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

/** What a name may mean: a workflow, and the reason why it cannot be started. */
export interface Candidate extends ResolvedWorkflow {
  /** PACKAGE_UNAVAILABLE of a version that takes no new executions; null of any other. */
  readonly refusal: CloacinaError | null;
}

/** Where a workflow's name is looked up. */
export interface Resolving {
  readonly store: Definitions;
  /** What a name may mean among packages. Throws PACKAGE_NOT_FOUND, WORKFLOW_NOT_FOUND for a version or channel by name. */
  readonly packaged: (name: string) => Promise<readonly Candidate[]>;
  /** All names there are, for the message when one is not found. */
  readonly names: () => Promise<readonly string[]>;
  /** Where this process also executes. */
  readonly engine: { readonly catalog: Catalog } | null;
}

/**
 * What a name means: `name`, `package/name` or `embedded/name`, and `package@1.0.0/name` with a version, a digest or a
 * channel of the package. Throws WORKFLOW_NOT_FOUND with near names, AMBIGUOUS_WORKFLOW, PACKAGE_UNAVAILABLE,
 * PACKAGE_NOT_FOUND.
 */
export async function resolveWorkflow(resolving: Resolving, name: string): Promise<ResolvedWorkflow> {
  const { refusal, ...resolved } = await workflowNamed(resolving, name);
  if (refusal !== null) throw refusal;
  return resolved;
}

/** The same, also for a version that takes no new executions. Such a version does not make a name ambiguous. */
export async function workflowNamed({ store, packaged, names, engine }: Resolving, name: string): Promise<Candidate> {
  const prefix = fullWorkflowName(null, '');
  const short = name.startsWith(prefix) ? name.slice(prefix.length) : name;
  // of an embedded one, the definition of this process; where it has none, the newest
  const own = engine?.catalog.embedded(short);
  const [found, newest] = await Promise.all([
    short === name ? packaged(name) : [],
    own === undefined ? store.newestDefinition(short) : undefined,
  ]);
  const unpinned = { pin: null, refusal: null };
  const candidates = [...found];
  if (own !== undefined) candidates.push({ ...unpinned, spec: own.graph.spec, buildId: own.buildId, code: own.code });
  if (newest !== undefined) candidates.push({ ...unpinned, spec: newest.spec, buildId: newest.buildId, code: null });
  const usable = candidates.filter(({ refusal }) => refusal === null);
  const [only, ...others] = usable.length > 0 ? usable : candidates;
  if (only === undefined) throw new WorkflowNotFoundError(name, nearNames(name, await names()));
  if (others.length === 0) return only;
  throw new AmbiguousWorkflowError(name, [only, ...others].map(longName));
}

/** The name that means this workflow only, whatever else is registered. */
export function longName({ pin, spec }: Pick<ResolvedWorkflow, 'pin' | 'spec'>): string {
  return fullWorkflowName(pin?.package ?? null, spec.name);
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
  if (spec.input !== null) {
    const { jsonSchemaIssues } = await import('../../core/json-schema/issues.ts');
    const issues = jsonSchemaIssues(spec.input, parseJson(text));
    if (issues.length > 0) throw new InputInvalidError(spec.name, issues);
  }
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
  if (idempotencyKey !== null) checkIndexed('idempotencyKey', idempotencyKey);
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
    limitKey: limitKey(resolved.spec, resolved.pin?.package ?? null, tenant, input.text),
    pinBy: resolved.pinBy ?? 'channel',
    retention: resolved.spec.retention,
    rootId: id,
    depth: 0,
    parent: null,
    schedule: schedule ?? null,
  };
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
    checkIndexed('tags', name);
    checkIndexed('tags', value);
  }
  const text = JSON.stringify(tags);
  if (text.length <= maxTagText) return text;
  throw new OptionInvalidError(
    'tags',
    `together they have ${text.length} characters of JSON; at most ${maxTagText} are stored`,
  );
}

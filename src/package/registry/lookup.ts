import {
  AmbiguousWorkflowError,
  CloacinaError,
  PackageNotFoundError,
  WorkflowNotFoundError,
} from '../../core/error.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { fullWorkflowName, kindOfSelector, parseWorkflowName } from '../../core/definition/workflow-name.ts';
import { nearNames } from '../../core/suggest.ts';
import type { Pin, PinBy } from '../../store/transition.ts';
import { channelsOf, findWorkflow, liveWorkflows } from '../../store/registry/channels.ts';
import type { LiveWorkflow } from '../../store/registry/channels.ts';
import { packageVersions, workflowsOf } from '../../store/registry/versions.ts';
import type { PackageRecord } from '../../store/registry/versions.ts';
import { unavailable } from '../../store/commit/pinned-versions.ts';
import type { Script } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';

export interface LookupOptions {
  readonly store: Scripts;
  readonly tenant: string;
  /** Called for a row that is left out of a list since it is damaged. */
  readonly onDamaged?: (error: CloacinaError) => void;
}

/** A workflow as an execution would get it now. */
export interface ResolvedWorkflow {
  readonly workflow: string;
  readonly pin: Pin;
  readonly spec: WorkflowSpec;
}

/** A workflow that a name may mean, and the reason why it cannot be started. */
export interface PackagedCandidate extends ResolvedWorkflow {
  readonly pinBy: Extract<PinBy, 'channel' | 'named'>;
  /** PACKAGE_UNAVAILABLE of a version that takes no new executions. */
  readonly refusal: CloacinaError | null;
}

export interface RegistryWorkflow {
  readonly name: string;
  readonly package: string;
  readonly version: string;
  readonly digest: string;
  readonly spec: WorkflowSpec;
}

/** Graphs kept in memory by digest; they never change, so this only bounds the memory. */
const maxSpecs = 256;

/**
 * Finds the workflows of the packages of one tenant by the live channels. It reads the database only, so that a start by
 * name needs neither the archives nor the rest of the registry.
 */
export class Lookup {
  readonly #options: LookupOptions;
  readonly #specs = new Map<string, ReadonlyMap<string, WorkflowSpec>>();

  constructor(options: LookupOptions) {
    this.#options = options;
  }

  /**
   * What a name may mean: `name` and `package/name` by the live channels; `package@1.0.0/name` of one version, that of a
   * digest, or that of another channel now. Versions that take no new executions only where there is no other. Throws PACKAGE_NOT_FOUND for a version or channel that is not there, and
   * WORKFLOW_NOT_FOUND where it has no such workflow.
   */
  async candidates(name: string): Promise<readonly PackagedCandidate[]> {
    const { workflow, package: from, at } = parseWorkflowName(name);
    const { store, tenant } = this.#options;
    if (from !== null && at !== null) {
      const record = await store.read(() => selectedVersion(tenant, from, at));
      const spec = await this.spec(record.digest, workflow);
      if (spec === undefined) {
        const there = [...(await this.#specsOf(record.digest)).keys()].map((one) => `${from}@${at}/${one}`);
        throw new WorkflowNotFoundError(name, nearNames(name, there));
      }
      return [{ ...candidate(workflow, record, spec), pinBy: 'named' }];
    }
    const found = await store.ask(() => findWorkflow(tenant, workflow, from));
    const usable = found.filter(({ status }) => status === 'published');
    const candidates: PackagedCandidate[] = [];
    for (const live of usable.length > 0 ? usable : found) {
      candidates.push(candidate(workflow, { ...live, name: live.package }, await this.#specOf(live)));
    }
    return candidates;
  }

  /**
   * The workflow that a name means now (see `candidates`); undefined where no package has it. Throws AMBIGUOUS_WORKFLOW,
   * PACKAGE_UNAVAILABLE where the version takes no new executions.
   */
  async resolve(name: string): Promise<ResolvedWorkflow | undefined> {
    const [only, ...others] = await this.candidates(name);
    if (only === undefined) return undefined;
    if (others.length > 0) {
      const names = [only, ...others].map(({ pin, workflow }) => fullWorkflowName(pin.package, workflow));
      throw new AmbiguousWorkflowError(name, names);
    }
    const { refusal, workflow, pin, spec } = only;
    if (refusal !== null) throw refusal;
    return { workflow, pin, spec };
  }

  /** Every workflow that a live channel offers, by name; without those whose manifest is damaged, which are told of. */
  async workflows(): Promise<RegistryWorkflow[]> {
    const { store, tenant, onDamaged } = this.#options;
    const found = await store.read(() => liveWorkflows(tenant));
    const workflows: RegistryWorkflow[] = [];
    for (const live of found) {
      const { workflow: name, package: owner, version, digest } = live;
      try {
        workflows.push({ name, package: owner, version, digest, spec: await this.#specOf(live) });
      } catch (error) {
        if (!(error instanceof CloacinaError) || error.code !== 'ROW_DAMAGED') throw error;
        onDamaged?.(error);
      }
    }
    return workflows;
  }

  /** The graph of a workflow of one version, live or not; undefined if the version has none of this name. */
  async spec(digest: string, workflow: string): Promise<WorkflowSpec | undefined> {
    return (await this.#specsOf(digest)).get(workflow);
  }

  async #specOf(live: LiveWorkflow): Promise<WorkflowSpec> {
    const spec = await this.spec(live.digest, live.workflow);
    if (spec !== undefined) return spec;
    const what = `the manifest of ${live.package} v${live.version}`;
    throw new CloacinaError('ROW_DAMAGED', `${what} is damaged in the database: it has no workflow '${live.workflow}'`);
  }

  async #specsOf(digest: string): Promise<ReadonlyMap<string, WorkflowSpec>> {
    const known = this.#specs.get(digest);
    if (known !== undefined) return known;
    const specs = await this.#options.store.read(() => workflowsOf(digest));
    const byName = new Map(specs.map((spec) => [spec.name, spec]));
    if (this.#specs.size >= maxSpecs) this.#specs.delete(this.#specs.keys().next().value!);
    this.#specs.set(digest, byName);
    return byName;
  }
}

function candidate(
  workflow: string,
  { name, version, digest, status }: Pick<PackageRecord, 'name' | 'version' | 'digest' | 'status'>,
  spec: WorkflowSpec,
): PackagedCandidate {
  const refusal = status === 'yanked' || status === 'quarantined' ? unavailable(name, version, status) : null;
  return { workflow, pin: { package: name, version, digest }, spec, pinBy: 'channel', refusal };
}

/** The version of a package that a version, a digest or a channel names. Throws PACKAGE_NOT_FOUND. */
function* selectedVersion(tenant: string, name: string, at: string): Script<PackageRecord> {
  const kind = kindOfSelector(at);
  const versions = yield* packageVersions(tenant, name);
  if (versions.length === 0) throw new PackageNotFoundError(name);
  if (kind === 'invalid') {
    const forms = 'a version such as 1.0.0, a digest (sha256: and 12 to 64 hex digits), or a channel';
    throw new CloacinaError('PACKAGE_NOT_FOUND', `'${at}' names no version of package ${name}: it is not ${forms}`);
  }
  if (kind !== 'channel') {
    const found = versions.filter((one) => (kind === 'version' ? one.version === at : one.digest.startsWith(at)));
    if (found.length === 1) return found[0]!;
    if (kind === 'version') throw new PackageNotFoundError(name, at);
    const which = found.length === 0 ? 'no version' : `${found.length} versions`;
    throw new CloacinaError('PACKAGE_NOT_FOUND', `package ${name} has ${which} with the digest ${at}`);
  }
  const channels = yield* channelsOf(tenant, name);
  const head = channels.find(({ channel }) => channel === at);
  const record = versions.find(({ version }) => version === head?.version);
  if (record !== undefined) return record;
  const there = channels.map(({ channel }) => `'${channel}'`).join(', ') || 'none';
  throw new CloacinaError('PACKAGE_NOT_FOUND', `package ${name} has no channel '${at}'; its channels: ${there}`);
}

import { AmbiguousWorkflowError, CloacinaError } from '../../core/error.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import type { Pin } from '../../store/transition.ts';
import { findWorkflow, liveWorkflows } from '../../store/registry/channels.ts';
import type { LiveWorkflow } from '../../store/registry/channels.ts';
import { workflowsOf } from '../../store/registry/versions.ts';
import { unavailable } from '../../store/commit/pinned-versions.ts';
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
   * The workflow that `name` or `package/name` means now, by the live channels; undefined where no package has it.
   * Throws AMBIGUOUS_WORKFLOW, PACKAGE_UNAVAILABLE where the version takes no new executions.
   */
  async resolve(workflow: string): Promise<ResolvedWorkflow | undefined> {
    // a package's name may hold a slash (its scope), a workflow's never does
    const slash = workflow.lastIndexOf('/');
    const name = workflow.slice(slash + 1);
    const packageName = slash === -1 ? null : workflow.slice(0, slash);
    const { store, tenant } = this.#options;
    const found = await store.ask(() => findWorkflow(tenant, name, packageName));
    const [live] = found;
    if (live === undefined) return undefined;
    if (found.length > 1)
      throw new AmbiguousWorkflowError(
        name,
        found.map((one) => `${one.package}/${one.workflow}`),
      );
    const { package: owner, version, digest, status } = live;
    if (status === 'yanked' || status === 'quarantined') throw unavailable(owner, version, status);
    const spec = await this.#specOf(live);
    return { workflow: name, pin: { package: owner, version, digest }, spec };
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

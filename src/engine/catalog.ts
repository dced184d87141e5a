import { defaultQueue, queuesOf } from '../core/definition/graph.ts';
import type { Graph } from '../core/definition/graph.ts';
import type { Pin } from '../store/transition.ts';
import type { WorkflowCode } from './workflow-code.ts';

/** A workflow that this runner can run: its graph and its functions. */
export interface LoadedWorkflow {
  readonly graph: Graph;
  readonly code: WorkflowCode;
  /** The build id of its executions: a package's digest, or `embedded/<workflow>/<fingerprint>`. */
  readonly buildId: string;
  /** The package version; null for an embedded workflow. */
  readonly pin: Pin | null;
}

/** A packaged workflow: each tenant has its own process, so each tenant has its own functions. */
export interface PackagedWorkflow extends Omit<LoadedWorkflow, 'code'> {
  readonly codeOf: (tenant: string) => WorkflowCode;
}

interface ClaimableBuilds {
  readonly buildIds: readonly string[];
  readonly except: ReadonlyMap<string, readonly string[]>;
}

/** The workflows that a runner can run now. Sets are added and removed while it runs. */
export class Catalog {
  readonly #sets = new Map<string, Map<string, LoadedWorkflow | PackagedWorkflow>>();
  readonly #onAdd: () => void;
  readonly #limits = new Map<string, number>();
  readonly #queues: ReadonlySet<string>;
  /** Cached until a set is added or removed. */
  #claimed: ClaimableBuilds | undefined;

  /** `onAdd` is called when executions of more workflows can be claimed. `queues`: those that the runner serves. */
  constructor(onAdd: () => void, queues: readonly string[] = [defaultQueue]) {
    this.#onAdd = onAdd;
    this.#queues = new Set(queues);
  }

  /** Adds the workflows of one package version (or one embedded workflow), all with the same `buildId`. */
  add(workflows: readonly (LoadedWorkflow | PackagedWorkflow)[]): void {
    this.#claimed = undefined;
    for (const loaded of workflows) {
      const set = this.#sets.get(loaded.buildId) ?? new Map<string, LoadedWorkflow | PackagedWorkflow>();
      this.#sets.set(loaded.buildId, set.set(loaded.graph.spec.name, loaded));
      const { name, concurrency } = loaded.graph.spec;
      if (concurrency !== null) this.#limits.set(`${loaded.buildId} ${name}`, concurrency.limit);
    }
    if (workflows.length > 0) this.#onAdd();
  }

  /** Stops claims of a build; its running executions keep their workflow. */
  remove(buildId: string): void {
    this.#claimed = undefined;
    for (const name of this.#sets.get(buildId)?.keys() ?? []) this.#limits.delete(`${buildId} ${name}`);
    this.#sets.delete(buildId);
  }

  /** Returns a workflow with its functions for a tenant. */
  find(buildId: string, workflow: string, tenant: string): LoadedWorkflow | undefined {
    const found = this.#sets.get(buildId)?.get(workflow);
    if (found === undefined || 'code' in found) return found;
    const { graph, pin, codeOf } = found;
    return { graph, buildId, pin, code: codeOf(tenant) };
  }

  /** Returns an embedded workflow by name. */
  embedded(name: string): LoadedWorkflow | undefined {
    return this.allEmbedded().find((loaded) => loaded.graph.spec.name === name);
  }

  allEmbedded(): readonly LoadedWorkflow[] {
    return [...this.#sets.values()].flatMap((set) => [...set.values()].filter((loaded) => 'code' in loaded));
  }

  /** Returns the concurrency limits, by `buildId workflow`. */
  get limits(): ReadonlyMap<string, number> {
    return this.#limits;
  }

  has(buildId: string): boolean {
    return this.#sets.has(buildId);
  }

  buildIds(): string[] {
    return [...this.#sets.keys()];
  }

  /** Returns true if executions of a workflow can be owned here: the runner serves the queue of one of its tasks. */
  owns({ graph }: Pick<LoadedWorkflow, 'graph'>): boolean {
    return !this.#queues.isDisjointFrom(queuesOf(graph.spec));
  }

  /** Returns the claimable builds, and for each the workflows that are left to runners of other queues. */
  get claimable(): ClaimableBuilds {
    return (this.#claimed ??= this.#claims());
  }

  #claims(): ClaimableBuilds {
    const codes: string[] = [];
    const except = new Map<string, string[]>();
    for (const [code, set] of this.#sets) {
      const others = [...set.values()].filter((loaded) => !this.owns(loaded)).map(({ graph }) => graph.spec.name);
      if (others.length < set.size) codes.push(code);
      if (others.length > 0) except.set(code, others);
    }
    return { buildIds: codes, except };
  }
}

export function embeddedBuildId(graph: Graph): string {
  return `embedded/${graph.spec.name}/${graph.spec.fingerprint}`;
}

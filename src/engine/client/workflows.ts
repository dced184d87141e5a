import { OptionInvalidError } from '../../core/error.ts';
import { checkOptions, noOptions, shown } from '../../core/option-check.ts';
import type { NoOptions } from '../../core/option-check.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { fullWorkflowName } from '../../core/definition/workflow-name.ts';
import type { Candidate } from './start.ts';

/** A workflow that can be started now: embedded in a runner, or of the package version that is live. */
export interface WorkflowEntry {
  readonly name: string;
  /** Null for an embedded one. */
  readonly package: string | null;
  readonly version: string | null;
  readonly spec: WorkflowSpec;
}

/** What there is to start. */
export class Workflows {
  readonly #all: () => Promise<readonly WorkflowEntry[]>;
  readonly #named: (name: string) => Promise<Candidate>;

  constructor(all: () => Promise<readonly WorkflowEntry[]>, named: (name: string) => Promise<Candidate>) {
    this.#all = all;
    this.#named = named;
  }

  /** In the order of their names. */
  async list(options: NoOptions = {}): Promise<readonly WorkflowEntry[]> {
    checkOptions(options, noOptions);
    return (await this.#all()).toSorted((a, b) => (longName(a) < longName(b) ? -1 : 1));
  }

  /**
   * By its name, as for a start: `name`, `package/name`, or `package@1.0.0/name` with a version, a digest or a channel.
   * Throws WORKFLOW_NOT_FOUND with near names, AMBIGUOUS_WORKFLOW, PACKAGE_NOT_FOUND.
   */
  async get(name: string): Promise<WorkflowEntry> {
    if (typeof name !== 'string') throw new OptionInvalidError('name', `${shown(name)} is not the name of a workflow`);
    const { spec, pin } = await this.#named(name);
    return { name: spec.name, package: pin?.package ?? null, version: pin?.version ?? null, spec };
  }

  async names(): Promise<readonly string[]> {
    return namesOf(await this.#all());
  }
}

function longName({ package: from, name }: WorkflowEntry): string {
  return fullWorkflowName(from, name);
}

function namesOf(entries: readonly WorkflowEntry[]): string[] {
  return [...new Set(entries.map((entry) => entry.name))];
}

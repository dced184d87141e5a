import { AmbiguousWorkflowError, OptionInvalidError, WorkflowNotFoundError } from '../../core/error.ts';
import { checkOptions, noOptions, shown } from '../../core/option-check.ts';
import type { NoOptions } from '../../core/option-check.ts';
import { nearNames } from '../../core/suggest.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';

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

  constructor(all: () => Promise<readonly WorkflowEntry[]>) {
    this.#all = all;
  }

  /** In the order of their names. */
  async list(options: NoOptions = {}): Promise<readonly WorkflowEntry[]> {
    checkOptions(options, noOptions);
    return (await this.#all()).toSorted((a, b) => (longName(a) < longName(b) ? -1 : 1));
  }

  /** By its name, or `package/workflow`. Throws WORKFLOW_NOT_FOUND with near names, AMBIGUOUS_WORKFLOW. */
  async get(name: string): Promise<WorkflowEntry> {
    if (typeof name !== 'string') throw new OptionInvalidError('name', `${shown(name)} is not the name of a workflow`);
    const all = await this.#all();
    const found = all.filter((entry) => entry.name === name || longName(entry) === name);
    const [only] = found;
    if (only === undefined) throw new WorkflowNotFoundError(name, nearNames(name, namesOf(all)));
    if (found.length > 1) throw new AmbiguousWorkflowError(name, found.map(longName));
    return only;
  }

  async names(): Promise<readonly string[]> {
    return namesOf(await this.#all());
  }
}

function longName(entry: WorkflowEntry): string {
  return `${entry.package ?? 'embedded'}/${entry.name}`;
}

function namesOf(entries: readonly WorkflowEntry[]): string[] {
  return [...new Set(entries.map((entry) => entry.name))];
}

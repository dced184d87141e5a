import { CloacinaError } from '../../core/error.ts';
import { fullWorkflowName } from '../../core/definition/workflow-name.ts';
import { holdersOf, lockLiveNames } from '../../store/registry/channels.ts';
import type { Script, Tx } from '../../store/script.ts';

/** A short name of a workflow that several packages, or a package and an application, have: a start by it is refused. */
export interface AmbiguousName {
  readonly workflow: string;
  /** The full names that it could mean. */
  readonly candidates: readonly string[];
}

/** Activating a version would take the meaning from short names of workflows. Nothing was changed. */
export class WorkflowNameTakenError extends CloacinaError {
  readonly packageName: string;
  readonly version: string;
  /** The names, each with what it means now and would mean, too. */
  readonly names: readonly AmbiguousName[];

  constructor(packageName: string, version: string, names: readonly AmbiguousName[]) {
    const [first] = names;
    const shown = names.slice(0, maxShown).map(({ workflow, candidates }) => `'${workflow}' (${candidates[0]})`);
    if (names.length > maxShown) shown.push(`${names.length - maxShown} more`);
    const what = `package ${packageName} v${version} would make names of workflows ambiguous: ${shown.join(', ')}`;
    const then = `a start of '${first!.workflow}' by this name alone would be refused`;
    super('WORKFLOW_NAME_TAKEN', `${what}; ${then}`);
    this.packageName = packageName;
    this.version = version;
    this.names = names;
  }
}

const maxShown = 5;

/**
 * Refuses to give a package's live channel workflows whose names mean something else now. A name that has several meanings
 * already loses nothing, nor one that the package has already: `had`. The names of a tenant are locked, so that of two such
 * acts the second sees the first. Throws WORKFLOW_NAME_TAKEN.
 */
export function* checkNamesFree(
  tx: Tx,
  tenant: string,
  to: { readonly name: string; readonly version: string },
  workflows: readonly string[],
  had: ReadonlySet<string>,
): Script<void> {
  const added = workflows.filter((workflow) => !had.has(workflow));
  if (added.length === 0) return;
  yield* lockLiveNames(tx, tenant);
  const taken: AmbiguousName[] = [];
  for (const [workflow, holders] of yield* holdersByName(tx, tenant, added)) {
    const others = holders.filter((from) => from !== to.name);
    if (others.length !== 1) continue;
    const candidates = [...others, to.name].map((from) => fullWorkflowName(from, workflow));
    taken.push({ workflow, candidates });
  }
  if (taken.length > 0) throw new WorkflowNameTakenError(to.name, to.version, taken);
}

/** Of these names, those that have several meanings now. */
export function* ambiguousAmong(tx: Tx, tenant: string, workflows: readonly string[]): Script<AmbiguousName[]> {
  const found = [...(yield* holdersByName(tx, tenant, workflows))].filter(([, holders]) => holders.length > 1);
  return found.map(([workflow, holders]) => {
    return { workflow, candidates: holders.map((from) => fullWorkflowName(from, workflow)).toSorted() };
  });
}

/** By name, in order; null stands for embedded workflows. */
function* holdersByName(
  tx: Tx,
  tenant: string,
  workflows: readonly string[],
): Script<ReadonlyMap<string, readonly (string | null)[]>> {
  const rows = yield* holdersOf(tx, tenant, workflows);
  const groups = Map.groupBy(rows, ({ workflow }) => workflow);
  return new Map(Array.from(groups, ([workflow, list]) => [workflow, list.map((row) => row.package)]));
}

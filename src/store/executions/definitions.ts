import { storedJson } from '../../core/json.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';
import type { DefinitionRecord } from '../store.ts';

interface DefinitionRow {
  readonly workflow: string;
  readonly build_id: string;
  readonly spec: string;
}

export function* definitions(): Script<DefinitionRecord[]> {
  const rows = yield* all<DefinitionRow>('select workflow, build_id, spec from definitions order by workflow');
  return rows.map(definitionRecord);
}

/** The definition of a workflow, as the last runner that had it wrote it. */
export function* newestDefinition(workflow: string): Script<DefinitionRecord | undefined> {
  const row = yield* first<DefinitionRow>(
    'select workflow, build_id, spec from definitions where workflow = $1',
    workflow,
  );
  return row === undefined ? undefined : definitionRecord(row);
}

function definitionRecord({ workflow, build_id, spec }: DefinitionRow): DefinitionRecord {
  return { workflow, buildId: build_id, spec: storedJson(spec, `the definition of '${workflow}'`) as WorkflowSpec };
}

/**
 * Writes the definitions of a runner that opens: from then on they are the newest of their workflows and of their build
 * ids. It writes only those that differ. A build id and its definition are kept for ever: see
 * docs/decisions/definitions-are-kept.md.
 */
export function* writeDefinitions(tx: Tx, list: readonly DefinitionRecord[]): Script<void> {
  const rows = JSON.stringify(list.map(({ workflow, buildId, spec }) => [workflow, buildId, JSON.stringify(spec)]));
  // c0 workflow, c1 build id, c2 spec; in order, so that two runners that open at once wait for each other without a
  // deadlock
  const given = `(${tx.dialect.fields('$1', 3)}) g`;
  yield* run(
    `insert into definitions (workflow, build_id, spec, updated_at) select c0, c1, c2, cast($2 as bigint) from ${given}
     where not exists (select 1 from definitions d where d.workflow = c0 and d.build_id = c1 and d.spec = c2) order by c0
     on conflict (workflow) do update set build_id = excluded.build_id, spec = excluded.spec, updated_at = excluded.updated_at`,
    rows,
    tx.now,
  );
  yield* run(
    `insert into builds (workflow, build_id, spec, written_at) select c0, c1, c2, cast($2 as bigint) from ${given}
     where not exists (select 1 from builds d where d.build_id = c1 and d.spec = c2) order by c1
     on conflict (build_id) do update set spec = excluded.spec, written_at = excluded.written_at`,
    rows,
    tx.now,
  );
}

/** The newest definition of a build id, even if its workflow has another build id by now. */
export function* definitionOf(code: string): Script<WorkflowSpec | undefined> {
  const row = yield* first<{ spec: string }>('select spec from builds where build_id = $1', code);
  return row === undefined ? undefined : (storedJson(row.spec, `the definition ${code}`) as WorkflowSpec);
}

import { storedJson } from '../core/json.ts';
import type { WorkflowSpec } from '../core/spec.ts';
import { all, first, run } from './sql.ts';
import type { Script } from './sql.ts';
import type { DefinitionRecord } from './store.ts';

interface DefinitionRow {
  readonly workflow: string;
  readonly code: string;
  readonly spec: string;
}

export function* definitions(): Script<DefinitionRecord[]> {
  const rows = yield* all<DefinitionRow>('select workflow, code, spec from definitions order by workflow');
  return rows.map(definitionRecord);
}

/** The definition of a workflow, as the last runner that had it wrote it. */
export function* newestDefinition(workflow: string): Script<DefinitionRecord | undefined> {
  const row = yield* first<DefinitionRow>('select workflow, code, spec from definitions where workflow = $1', workflow);
  return row === undefined ? undefined : definitionRecord(row);
}

function definitionRecord({ workflow, code, spec }: DefinitionRow): DefinitionRecord {
  return { workflow, code, spec: storedJson(spec, `the definition of '${workflow}'`) as WorkflowSpec };
}

/** What a runner has. A code and its definition are kept for ever: see docs/decisions/definitions-are-kept.md. */
export function* writeDefinitions(list: readonly DefinitionRecord[], now: number): Script<void> {
  for (const { workflow, code, spec } of list) {
    yield* run(
      `insert into definitions (workflow, code, spec, updated_at) values ($1, $2, $3, $4)
       on conflict (workflow) do update set code = excluded.code, spec = excluded.spec, updated_at = excluded.updated_at
       where definitions.code <> excluded.code or definitions.spec <> excluded.spec`,
      workflow,
      code,
      JSON.stringify(spec),
      now,
    );
    yield* run(
      'insert into definition_codes (code, workflow, spec, written_at) values ($1, $2, $3, $4) on conflict (code) do nothing',
      code,
      workflow,
      JSON.stringify(spec),
      now,
    );
  }
}

/** A definition by its code, even where its workflow has another one by now. */
export function* definitionOf(code: string): Script<WorkflowSpec | undefined> {
  const row = yield* first<{ spec: string }>('select spec from definition_codes where code = $1', code);
  return row === undefined ? undefined : (storedJson(row.spec, `the definition ${code}`) as WorkflowSpec);
}

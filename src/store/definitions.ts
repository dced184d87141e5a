import type { WorkflowSpec } from '../core/spec.ts';
import { all, first, run } from './sql.ts';
import type { Script } from './sql.ts';
import type { DefinitionRecord } from './store.ts';

export function* definitions(): Script<DefinitionRecord[]> {
  const rows = yield* all<{ workflow: string; code: string; spec: string }>(
    'select workflow, code, spec from definitions order by workflow',
  );
  return rows.map((row) => ({ workflow: row.workflow, code: row.code, spec: JSON.parse(row.spec) as WorkflowSpec }));
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
  return row === undefined ? undefined : (JSON.parse(row.spec) as WorkflowSpec);
}

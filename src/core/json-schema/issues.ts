import type { Issue } from '../error.ts';
import type { Json } from '../json.ts';
import { exhausted } from './budget.ts';
import { Check } from './check.ts';
import { shortened } from './place.ts';
import type { Found } from './place.ts';
import { Resources } from './resources.ts';
import { isMembers } from './verdict.ts';
import type { Members } from './verdict.ts';

/*
 * The schema comes from an untrusted package, and this code runs in the process of the engine. Therefore:
 *
 * - No regular expression of a schema runs here: catastrophic backtracking would block the event loop forever. Patterns
 * are matched in linear time by `pattern.ts`. No code is generated from a schema either.
 * - Every check has a budget of steps and a maximum depth. `$ref`, `anyOf` and `allOf` multiply: 30 references,
 * each doubled, are a thousand million steps.
 * - A value is refused only if it certainly does not fit. The schema's own code judges the rest, in the package's
 * process, which a stall limit ends.
 */

/** After this many exhausted budgets a schema is left to its own code: its next thousand schedules are due at once. */
const maxExhausted = 3;

/** State that is kept for a schema of this process. */
interface Known {
  readonly resources: Resources;
  exhaustions: number;
}

const known = new WeakMap<object, Known>();

/**
 * Returns the reasons, with paths, for which a value certainly does not fit a JSON Schema (draft 2020-12). Empty if
 * there is no schema, if only something unjudged could decide (formats, other documents, some patterns), or if the
 * budget ends before a fault is found.
 */
export function jsonSchemaIssues(schema: Json, value: Json): Issue[] {
  const state = isMembers(schema) ? stateOf(schema) : { resources: new Resources({}), exhaustions: 0 };
  if (schema === null || state.exhaustions >= maxExhausted) return [];
  const found: Found[] = [];
  try {
    new Check(state.resources).run(schema, value, found);
  } catch (error) {
    if (error !== exhausted) throw error;
    state.exhaustions++;
  }
  return found.map(({ path, message }) => ({ path: shortened(path), message }));
}

function stateOf(schema: Members): Known {
  let state = known.get(schema);
  if (state === undefined) {
    state = { resources: new Resources(schema), exhaustions: 0 };
    known.set(schema, state);
  }
  return state;
}

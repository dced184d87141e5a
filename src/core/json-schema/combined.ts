import type { Json } from '../json.ts';
import { Evaluated } from './evaluated.ts';
import type { Call, Keyword } from './keyword.ts';
import { each } from './members.ts';
import { refuse, shortened, silently, undecided } from './place.ts';
import type { Found, Place } from './place.ts';
import type { Scope, Target } from './resources.ts';
import { isList, isMembers } from './verdict.ts';
import type { Verdict } from './verdict.ts';

/** Keywords that apply other schemas to the same value. */
export const combiningKeywords: Readonly<Record<string, Keyword>> = {
  $ref: (call) => reference(call, (to, scope) => call.judge.resources.resolve(to, scope)),
  $dynamicRef: (call) => reference(call, (to, scope) => call.judge.resources.resolveDynamic(to, scope)),
  allOf,
  anyOf: (call) => alternatives(call, false),
  oneOf: (call) => alternatives(call, true),
  not,
  if: conditional,
  dependentSchemas,
};

/** Judges the value by another schema, whose evaluated members and items the calling schema has evaluated, too. */
function apply({ judge, place }: Call, schema: Json | undefined, changes: Partial<Place> = {}): Verdict {
  if (place.evaluated === null) return judge.judge(schema, { ...place, ...changes });
  const evaluated = new Evaluated();
  const verdict = judge.judge(schema, { ...place, ...changes, evaluated });
  judge.budget.spend(evaluated.size);
  place.evaluated.add(evaluated, verdict);
  return verdict;
}

function reference(call: Call, resolve: (to: string, scope: Scope) => Target | null): Verdict {
  const { operand, place, judge } = call;
  if (typeof operand !== 'string') return undecided(place);
  judge.budget.spend(operand.length / 16);
  const target = resolve(operand, place.scope);
  return target === null ? undecided(place) : apply(call, target.schema, { scope: target.scope });
}

function allOf(call: Call): Verdict {
  if (!isList(call.operand)) return undecided(call.place);
  return each(call, call.operand, (part) => apply(call, part));
}

/**
 * `oneOf` does not refuse a value that fits several alternatives: valibot exports variants this way, zod discriminated
 * unions with a fallback, and both take the first match.
 */
function alternatives(call: Call, isOne: boolean): Verdict {
  const { operand: schemas, place } = call;
  if (!isList(schemas)) return undecided(place);
  const wanted: string[] = [];
  const counts = { fits: 0, unknown: 0, differs: 0 };
  for (const schema of schemas) {
    const found: Found[] = [];
    counts[apply(call, schema, { found })]++;
    // every alternative that fits evaluates members
    if (counts.fits > 0 && !isOne && place.evaluated === null) return 'fits';
    const [only] = found;
    const own = found.length === 1 && only?.path === place.path ? only.wanted : null;
    if (own !== null) wanted.push(own);
  }
  const { fits, unknown } = counts;
  if (isOne ? fits === 1 && unknown === 0 : fits > 0) return 'fits';
  if (fits + unknown > 0) return 'unknown';
  if (wanted.length < schemas.length) return refuse(place, `it fits none of its ${schemas.length} alternatives`);
  const choice = shortened([...new Set(wanted)].join(' or '));
  return refuse(place, `it must be ${choice}`, choice);
}

function not({ operand, place, judge }: Call): Verdict {
  const verdict = judge.judge(operand, { ...silently(place), evaluated: null });
  if (verdict === 'fits') return refuse(place, 'this value is not accepted');
  return verdict === 'differs' ? 'fits' : 'unknown';
}

function conditional(call: Call): Verdict {
  const { operand, schema, place } = call;
  const branch = (name: string, found: Found[]): Verdict =>
    Object.hasOwn(schema, name) ? apply(call, schema[name], { found }) : 'fits';
  const condition = apply(call, operand, { found: [] });
  if (condition !== 'unknown') return branch(condition === 'fits' ? 'then' : 'else', place.found);
  const [fitting, other] = [branch('then', []), branch('else', [])];
  if (fitting !== other) return 'unknown';
  return fitting === 'differs' ? refuse(place, 'it fits neither `then` nor `else`') : fitting;
}

function dependentSchemas(call: Call): Verdict {
  const { operand, place } = call;
  if (!isMembers(operand)) return undecided(place);
  const { value } = place;
  if (!isMembers(value)) return 'fits';
  return each(call, Object.keys(operand), (name) => (Object.hasOwn(value, name) ? apply(call, operand[name]) : 'fits'));
}

import type { Json } from '../json.ts';
import { Budget, maxDepth } from './budget.ts';
import { combiningKeywords } from './combined.ts';
import { Evaluated } from './evaluated.ts';
import { itemKeywords } from './items.ts';
import type { Judge, Keyword } from './keyword.ts';
import { memberKeywords } from './members.ts';
import { compilePattern, matchPattern } from './pattern.ts';
import type { Pattern } from './pattern.ts';
import { refuse, undecided } from './place.ts';
import type { Found, Place } from './place.ts';
import type { Resources } from './resources.ts';
import { valueKeywords } from './values.ts';
import { both, isMembers } from './verdict.ts';
import type { Members, Verdict } from './verdict.ts';

const keywords: ReadonlyMap<string, Keyword> = new Map(
  Object.entries({ ...valueKeywords, ...memberKeywords, ...itemKeywords, ...combiningKeywords }),
);

/** Keywords without an effect of their own on validity; the keywords beside them or references read some of them. */
const silent: ReadonlySet<string> = new Set(
  (
    '$schema $id $anchor $dynamicAnchor $vocabulary $defs definitions $comment title description default examples ' +
    'example deprecated readOnly writeOnly contentEncoding contentMediaType contentSchema then else minContains ' +
    'maxContains'
  ).split(' '),
);

/** Keywords about the members and items that no other keyword of the schema evaluates. */
const last = ['unevaluatedProperties', 'unevaluatedItems'];

/** The check of one value against one schema. */
export class Check implements Judge {
  readonly budget: Budget = new Budget();
  readonly resources: Resources;
  readonly #patterns = new Map<string, Pattern | null>();

  constructor(resources: Resources) {
    this.resources = resources;
  }

  /** Adds faults that make the value certainly invalid to `found`. Throws `exhausted`. */
  run(schema: Json, value: Json, found: Found[]): void {
    this.judge(schema, { value, path: '', depth: 0, found, scope: this.resources.scope, evaluated: null });
  }

  judge(schema: Json | undefined, place: Place): Verdict {
    this.budget.spend(1);
    if (schema === true) return 'fits';
    if (schema === false) return refuse(place, 'no value is allowed here');
    if (!isMembers(schema) || place.depth > maxDepth) return undecided(place);
    const scope = this.resources.enter(schema, place.scope);
    if (scope === null) return undecided(place);
    const names = Object.keys(schema);
    this.budget.spend(names.length);
    const asking = last.filter((name) => Object.hasOwn(schema, name));
    const evaluated = place.evaluated ?? (asking.length > 0 ? new Evaluated() : null);
    const inner: Place = { ...place, depth: place.depth + 1, scope, evaluated };
    // a value of another type differs by every other keyword too
    let verdict = Object.hasOwn(schema, 'type') ? this.#keyword('type', schema, inner) : 'fits';
    if (verdict === 'differs') return verdict;
    for (const name of names) {
      if (name !== 'type' && !last.includes(name)) verdict = both(verdict, this.#keyword(name, schema, inner));
    }
    for (const name of verdict === 'differs' ? [] : asking) verdict = both(verdict, this.#keyword(name, schema, inner));
    return verdict;
  }

  matches(source: string, text: string): Verdict {
    const spend = (steps: number): void => this.budget.spend(steps);
    let pattern = this.#patterns.get(source);
    if (pattern === undefined) {
      pattern = compilePattern(source, spend);
      this.#patterns.set(source, pattern);
    }
    return pattern === null ? 'unknown' : matchPattern(pattern, text, spend);
  }

  #keyword(name: string, schema: Members, place: Place): Verdict {
    if (silent.has(name)) return 'fits';
    const keyword = keywords.get(name);
    // a format, or a keyword of another dialect
    if (keyword === undefined) return name === 'format' ? 'unknown' : undecided(place);
    return keyword({ operand: schema[name] ?? null, schema, place, judge: this });
  }
}

import type { Issue } from './error.ts';
import type { Json } from './json.ts';

/*
 * The schema comes from an untrusted package, and this code runs in the process of the engine. Therefore:
 *
 * - No regular expression of a schema runs here (`pattern`, `patternProperties`, `format`): catastrophic backtracking
 * would block the event loop forever. No code is generated from a schema either.
 * - Every check has a budget of steps and a maximum depth. `$ref`, `anyOf` and `allOf` multiply: 30 references,
 * each doubled, are a thousand million steps.
 * - A value is refused only if it certainly does not fit. The schema's own code judges the rest, in the package's
 * process, which a stall limit ends.
 */

/** Steps of one check: a keyword evaluated, a member visited, 16 characters read. */
const maxSteps = 50_000;
/** Maximum nesting of schemas, followed references included. */
const maxDepth = 100;
/** After this many exhausted budgets a schema is left to its own code: its next thousand schedules are due at once. */
const maxExhausted = 3;
const maxIssues = 20;
/** Maximum number of characters of a path or of a list of choices in a message. */
const maxShown = 200;
const maxPointer = 500;

/**
 * Returns the reasons, with paths, for which a value certainly does not fit a JSON Schema (draft 2020-12). Empty if
 * there is no schema, if only unjudged keywords could decide (see `judged`), or if the budget ends before a fault is
 * found.
 */
export function jsonSchemaIssues(schema: Json, value: Json): Issue[] {
  if (schema === null) return [];
  const costly = typeof schema === 'object' ? (exhaustions.get(schema) ?? 0) : 0;
  if (costly >= maxExhausted) return [];
  const found: Found[] = [];
  try {
    new Check(schema).judge(schema, { value, path: '', depth: 0, found });
  } catch (error) {
    if (error !== exhausted) throw error;
    if (typeof schema === 'object') exhaustions.set(schema, costly + 1);
  }
  return found.slice(0, maxIssues).map(({ path, message }) => ({ path: shortened(path), message }));
}

/** `unknown`: the decision depends on a keyword that is not judged here. */
type Verdict = 'fits' | 'differs' | 'unknown';

interface Found {
  readonly path: string;
  readonly message: string;
  /** The expected value, for a list of alternatives; null for another kind of fault. */
  readonly wanted: string | null;
}

interface Place {
  readonly value: Json;
  readonly path: string;
  readonly depth: number;
  readonly found: Found[];
}

type Members = { readonly [name: string]: Json | undefined };

const exhausted = new Error('the budget of a check has ended');

const exhaustions = new WeakMap<object, number>();

/** Annotations: keywords without effect on validity. */
const silent: ReadonlySet<string> = new Set(
  '$schema $id $defs definitions $comment title description default examples example deprecated readOnly writeOnly'.split(
    ' ',
  ),
);

class Check {
  readonly #root: Json;
  #steps = maxSteps;

  constructor(root: Json) {
    this.#root = root;
  }

  judge(schema: Json | undefined, place: Place): Verdict {
    this.#spend(1);
    if (schema === true) return 'fits';
    if (schema === false) return refuse(place, 'no value is allowed here');
    if (!isMembers(schema) || place.depth > maxDepth) return 'unknown';
    // a schema with its own `$id` resolves references against that id
    if (schema !== this.#root && Object.hasOwn(schema, '$id')) return 'unknown';
    const keywords = Object.keys(schema);
    this.#spend(keywords.length);
    // a value of another type differs by every other keyword too
    if (this.#type(schema, place) === 'differs') return 'differs';
    let verdict: Verdict = 'fits';
    for (const keyword of keywords) {
      const next = silent.has(keyword) ? 'fits' : this.#keyword(keyword, schema, { ...place, depth: place.depth + 1 });
      verdict = both(verdict, next);
    }
    return verdict;
  }

  #keyword(keyword: string, schema: Members, place: Place): Verdict {
    const operand = schema[keyword] ?? null;
    switch (keyword) {
      case 'type':
        return this.#type(schema, place);
      case '$ref':
        return typeof operand === 'string' ? this.#reference(operand, place) : 'unknown';
      case 'const':
        return this.#choice([operand], place);
      case 'enum':
        return isList(operand) ? this.#choice(operand, place) : 'unknown';
      case 'allOf':
        return isList(operand) ? this.#each(operand, (part) => this.judge(part, place)) : 'unknown';
      case 'anyOf':
        return isList(operand) ? this.#alternatives(operand, place, false) : 'unknown';
      case 'oneOf':
        return isList(operand) ? this.#alternatives(operand, place, true) : 'unknown';
      case 'not':
        return this.#not(operand, place);
      case 'properties':
      case 'required':
      case 'additionalProperties':
      case 'propertyNames':
        return isMembers(place.value) ? this.#members(keyword, schema, place.value, place) : 'fits';
      case 'items':
      case 'prefixItems':
      case 'minItems':
      case 'maxItems':
        return isList(place.value) ? this.#items(keyword, schema, place.value, place) : 'fits';
      case 'minLength':
      case 'maxLength':
        return typeof place.value === 'string' ? this.#length(keyword, operand, place.value, place) : 'fits';
      case 'minimum':
      case 'maximum':
      case 'exclusiveMinimum':
      case 'exclusiveMaximum':
        return typeof place.value === 'number' ? bounded(keyword, operand, place.value, place) : 'fits';
      default:
        return 'unknown'; // a pattern, a format, an unsupported keyword
    }
  }

  #type({ type }: Members, place: Place): Verdict {
    if (type === undefined) return 'fits';
    const types = isList(type) ? type : [type];
    this.#spend(types.length);
    if (!types.every((name) => typeof name === 'string' && articles.has(name))) return 'unknown';
    if (types.some((name) => isOfType(name as string, place.value))) return 'fits';
    const wanted = types.map((name) => articles.get(name as string)!).join(' or ');
    return refuse(place, `it must be ${wanted}, not ${articles.get(typeOf(place.value))!}`, wanted);
  }

  #reference(pointer: string, place: Place): Verdict {
    if (pointer !== '#' && (!pointer.startsWith('#/') || pointer.length > maxPointer)) return 'unknown';
    const names = pointer.split('/').slice(1);
    this.#spend(names.length);
    let target: Json | undefined = this.#root;
    for (const name of names) {
      const key = unescaped(name);
      if (key === null || typeof target !== 'object' || target === null || !Object.hasOwn(target, key))
        return 'unknown';
      target = (target as Members)[key];
      if (isMembers(target) && Object.hasOwn(target, '$id')) return 'unknown';
    }
    return this.judge(target, place);
  }

  #choice(choices: readonly Json[], place: Place): Verdict {
    if (choices.some((choice) => this.#same(choice, place.value, place.depth))) return 'fits';
    const texts: string[] = [];
    for (let length = 0; texts.length < choices.length && length <= maxShown; length += texts.at(-1)!.length) {
      const choice = choices[texts.length]!;
      texts.push(typeof choice === 'object' && choice !== null ? 'another value' : JSON.stringify(choice));
    }
    const wanted = shortened(texts.join(' or '));
    return refuse(place, `it must be ${wanted}`, wanted);
  }

  /**
   * `oneOf` does not refuse a value that fits several alternatives: libraries write unions this way and take the first
   * match.
   */
  #alternatives(schemas: readonly Json[], place: Place, exactlyOne: boolean): Verdict {
    const wanted: string[] = [];
    let [fits, unknown] = [0, 0];
    for (const schema of schemas) {
      const found: Found[] = [];
      const verdict = this.judge(schema, { ...place, found });
      if (verdict === 'fits' && !exactlyOne) return 'fits';
      if (verdict === 'fits') fits++;
      if (verdict === 'unknown') unknown++;
      const [only] = found;
      const own = found.length === 1 && only?.path === place.path ? only.wanted : null;
      if (own !== null) wanted.push(own);
    }
    if (fits === 1 && unknown === 0) return 'fits';
    if (fits + unknown > 0) return 'unknown';
    if (wanted.length === schemas.length) {
      const either = shortened([...new Set(wanted)].join(' or '));
      return refuse(place, `it must be ${either}`, either);
    }
    return refuse(place, `it fits none of its ${schemas.length} alternatives`);
  }

  #not(schema: Json, place: Place): Verdict {
    const verdict = this.judge(schema, { ...place, found: [] });
    if (verdict === 'fits') return refuse(place, 'this value is not accepted');
    return verdict === 'differs' ? 'fits' : 'unknown';
  }

  #members(keyword: string, schema: Members, value: Members, place: Place): Verdict {
    const operand = schema[keyword] ?? null;
    if (keyword === 'required') {
      if (!isList(operand)) return 'unknown';
      return this.#each(operand, (name) => {
        if (typeof name !== 'string') return 'unknown';
        return Object.hasOwn(value, name) ? 'fits' : refuse(member(place, name, null), 'it is missing');
      });
    }
    if (keyword === 'properties') {
      if (!isMembers(operand)) return 'unknown';
      return this.#each(Object.keys(operand), (name) =>
        Object.hasOwn(value, name) ? this.judge(operand[name], member(place, name, value[name])) : 'fits',
      );
    }
    if (keyword === 'propertyNames') {
      return this.#each(Object.keys(value), (name) => this.judge(operand, member(place, name, name)));
    }
    if (Object.hasOwn(schema, 'patternProperties')) return 'unknown';
    const known = isMembers(schema['properties']) ? schema['properties'] : {};
    return this.#each(Object.keys(value), (name) => {
      if (Object.hasOwn(known, name)) return 'fits';
      if (operand === false) return refuse(member(place, name, null), 'unknown property');
      return this.judge(operand, member(place, name, value[name]));
    });
  }

  #items(keyword: string, schema: Members, value: readonly Json[], place: Place): Verdict {
    const operand = schema[keyword] ?? null;
    if (keyword === 'minItems' || keyword === 'maxItems') {
      if (typeof operand !== 'number') return 'unknown';
      if (keyword === 'minItems' ? value.length >= operand : value.length <= operand) return 'fits';
      return refuse(place, `it must have at ${keyword === 'minItems' ? 'least' : 'most'} ${operand} items`);
    }
    const prefix = schema['prefixItems'];
    const first = keyword === 'items' && isList(prefix) ? prefix.length : 0;
    if (keyword === 'prefixItems' ? !isList(operand) : isList(operand)) return 'unknown';
    const last = isList(operand) ? Math.min(operand.length, value.length) : value.length;
    let verdict: Verdict = 'fits';
    for (let at = first; at < last; at++) {
      const item = { ...place, value: value[at]!, path: `${place.path}[${at}]` };
      verdict = both(verdict, this.judge(isList(operand) ? operand[at] : operand, item));
    }
    return verdict;
  }

  /** JSON Schema counts code points, most libraries UTF-16 units: a length is refused only if both counts are wrong. */
  #length(keyword: string, operand: Json, value: string, place: Place): Verdict {
    if (typeof operand !== 'number') return 'unknown';
    const least = keyword === 'minLength';
    if (least ? value.length >= operand : value.length <= operand) return 'fits';
    if (!least) this.#spend(value.length / 16);
    if (least || codePoints(value) > operand) {
      return refuse(place, `it must have at ${least ? 'least' : 'most'} ${operand} characters`);
    }
    return 'fits';
  }

  #each<T>(list: readonly T[], judge: (one: T) => Verdict): Verdict {
    let verdict: Verdict = 'fits';
    for (const one of list) {
      this.#spend(1);
      verdict = both(verdict, judge(one));
    }
    return verdict;
  }

  #same(a: Json | undefined, b: Json | undefined, depth: number): boolean {
    this.#spend(1);
    if (typeof a === 'string' && typeof b === 'string' && a.length === b.length) this.#spend(a.length / 16);
    if (a === b) return true;
    if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
    if (depth > maxDepth) throw exhausted;
    if (Array.isArray(a) !== Array.isArray(b)) return false;
    const names = Object.keys(a);
    this.#spend(names.length);
    if (names.length !== Object.keys(b).length) return false;
    return names.every(
      (name) => Object.hasOwn(b, name) && this.#same((a as Members)[name], (b as Members)[name], depth + 1),
    );
  }

  #spend(steps: number): void {
    this.#steps -= steps;
    if (this.#steps < 0) throw exhausted;
  }
}

const articles: ReadonlyMap<string, string> = new Map([
  ['string', 'a string'],
  ['number', 'a number'],
  ['integer', 'a whole number'],
  ['boolean', 'a boolean'],
  ['null', 'null'],
  ['array', 'an array'],
  ['object', 'an object'],
]);

function isOfType(name: string, value: Json): boolean {
  return name === 'integer' ? Number.isInteger(value) : typeOf(value) === name;
}

function typeOf(value: Json): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

function bounded(keyword: string, operand: Json, value: number, place: Place): Verdict {
  if (typeof operand !== 'number') return 'unknown';
  switch (keyword) {
    case 'minimum':
      return value >= operand ? 'fits' : refuse(place, `it must be at least ${operand}`);
    case 'maximum':
      return value <= operand ? 'fits' : refuse(place, `it must be at most ${operand}`);
    case 'exclusiveMinimum':
      return value > operand ? 'fits' : refuse(place, `it must be more than ${operand}`);
    default:
      return value < operand ? 'fits' : refuse(place, `it must be less than ${operand}`);
  }
}

function refuse(place: Place, message: string, wanted: string | null = null): 'differs' {
  if (place.found.length < maxIssues) place.found.push({ path: place.path, message, wanted });
  return 'differs';
}

function member(place: Place, name: string, value: Json | undefined): Place {
  return { ...place, value: value ?? null, path: place.path === '' ? name : `${place.path}.${name}` };
}

function both(a: Verdict, b: Verdict): Verdict {
  if (a === 'differs' || b === 'differs') return 'differs';
  return a === 'fits' ? b : a;
}

/** Decodes a name of a JSON pointer in a URL; null if it is malformed. */
function unescaped(name: string): string | null {
  try {
    return decodeURIComponent(name).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch {
    return null;
  }
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function shortened(text: string): string {
  return text.length <= maxShown ? text : `${text.slice(0, maxShown)}…`;
}

function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

function isMembers(value: Json | undefined): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

import { parsePattern, spaces } from './pattern-syntax.ts';
import type { Assertion, CharacterSet, PatternNode } from './pattern-syntax.ts';
import type { Verdict } from './verdict.ts';

/*
 * All states that a text can lead to advance together, character by character, so the time is at most the length of
 * the text times the number of states. An engine with backtracking has no such bound.
 *
 * A JSON Schema does not have the flags of the expression it was exported from: zod and arktype drop them. Therefore a
 * text is matched twice, by a strict reading that every set of flags accepts, and by a lenient one that accepts
 * whatever one of them does: letters in both cases, `.` for line terminators, `^` and `$` at every line.
 */

type State =
  | { readonly kind: 'end' }
  | { readonly kind: 'split'; readonly next: number[] }
  | { readonly kind: 'assertion'; readonly assertion: Assertion; readonly next: number }
  /** Without a set: any character. */
  | { readonly kind: 'character'; readonly set: CharacterSet | null; readonly next: number };

export interface Pattern {
  readonly states: readonly State[];
  readonly first: number;
}

type Spend = (steps: number) => void;

const maxStates = 2000;
const maxText = 10_000;
/** States visited, or ranges compared, for one step. */
const visitsOfStep = 16;

const tooLarge = new Error('a pattern has too many states');

/** Returns null for a pattern that is not judged. */
export function compilePattern(source: string, spend: Spend): Pattern | null {
  const node = parsePattern(source);
  const states: State[] = [{ kind: 'end' }];
  try {
    const first = node === null ? 0 : new Builder(states).build(node, 0);
    return node === null ? null : { states, first };
  } catch (error) {
    if (error !== tooLarge) throw error;
    return null;
  } finally {
    spend((source.length + states.length) / visitsOfStep);
  }
}

/** Returns `fits` if a text matches whatever the flags are, `differs` if no flags make it match. */
export function matchPattern(pattern: Pattern, text: string, spend: Spend): Verdict {
  // pairs of UTF-16 units count once or twice, and two letters are those of ASCII with some flags
  if (text.length > maxText || /[\ud800-\udfff\u017f\u212a]/.test(text)) return 'unknown';
  if (isMatch(pattern, text, false, spend)) return 'fits';
  return isMatch(pattern, text, true, spend) ? 'unknown' : 'differs';
}

class Builder {
  readonly #states: State[];
  #builds = 0;

  constructor(states: State[]) {
    this.#states = states;
  }

  /** Adds the states of a node, which lead to the state `next`. Returns the first of them. */
  build(node: PatternNode, next: number): number {
    if (++this.#builds > 2 * maxStates || this.#states.length > maxStates) throw tooLarge;
    switch (node.kind) {
      case 'any':
        return this.#add({ kind: 'character', set: null, next });
      case 'character':
        return this.#add({ kind: 'character', set: node.set, next });
      case 'assertion':
        return this.#add({ kind: 'assertion', assertion: node.assertion, next });
      case 'sequence':
        return node.nodes.reduceRight((to, each) => this.build(each, to), next);
      case 'choice':
        return this.#add({ kind: 'split', next: node.nodes.map((each) => this.build(each, next)) });
      default:
        return this.#repeat(node, next);
    }
  }

  #repeat({ node, min, max }: PatternNode & { kind: 'repeat' }, next: number): number {
    let first = next;
    if (max === Infinity) {
      const again = [next];
      first = this.#add({ kind: 'split', next: again });
      again.push(this.build(node, first));
    } else {
      for (let i = min; i < max; i++) first = this.#add({ kind: 'split', next: [next, this.build(node, first)] });
    }
    for (let i = 0; i < min; i++) first = this.build(node, first);
    return first;
  }

  #add(state: State): number {
    return this.#states.push(state) - 1;
  }
}

function isMatch({ states, first }: Pattern, text: string, isLenient: boolean, spend: Spend): boolean {
  /** The position after which a state was visited last. */
  const visited = new Uint32Array(states.length);
  let waiting: number[] = [];
  for (let at = 0; at <= text.length; at++) {
    const open = [...waiting, first];
    waiting = [];
    let visits = open.length;
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      if (visited[id] === at + 1) continue;
      visited[id] = at + 1;
      const state = states[id]!;
      if (state.kind === 'end') return true;
      if (state.kind === 'split') {
        open.push(...state.next);
        visits += state.next.length;
      } else if (state.kind === 'assertion') {
        if (holds(state.assertion, text, at, isLenient)) open.push(state.next);
      } else if (at < text.length) {
        if (accepts(state.set, text.charCodeAt(at), isLenient)) waiting.push(state.next);
        visits += state.set?.ranges.length ?? 0;
      }
    }
    spend(visits / visitsOfStep);
  }
  return false;
}

function holds(assertion: Assertion, text: string, at: number, isLenient: boolean): boolean {
  if (assertion === '^') return at === 0 || (isLenient && isLineEnd(text.charCodeAt(at - 1)));
  if (assertion === '$') return at === text.length || (isLenient && isLineEnd(text.charCodeAt(at)));
  return (/\w/.test(text.charAt(at - 1)) !== /\w/.test(text.charAt(at))) === (assertion === 'b');
}

function accepts(set: CharacterSet | null, code: number, isLenient: boolean): boolean {
  if (set === null) return isLenient || !isLineEnd(code);
  // the flag `i` makes a set larger, and thereby its negation smaller
  const ignoresCase = isLenient !== set.isNegated;
  return (contains(set, code) || (ignoresCase && containsOtherCase(set, code))) !== set.isNegated;
}

function contains({ ranges }: CharacterSet, code: number): boolean {
  return ranges.some(([from, to]) => code >= from && code <= to);
}

/** Returns true if a set has the letter in another case, or perhaps has it. */
function containsOtherCase(set: CharacterSet, code: number): boolean {
  const letter = String.fromCharCode(code);
  const [lower, upper] = [letter.toLowerCase(), letter.toUpperCase()];
  if (lower === upper) return false;
  // beyond ASCII a letter may have several other cases
  if (code > 127) return set.ranges.some((range) => range[1] > 127 && !spaces.includes(range));
  const others = [lower, upper, ...(lower === 's' ? ['\u017f'] : lower === 'k' ? ['\u212a'] : [])];
  return others.some((other) => contains(set, other.charCodeAt(0)));
}

function isLineEnd(code: number): boolean {
  return code === 0x0a || code === 0x0d || code === 0x2028 || code === 0x2029;
}

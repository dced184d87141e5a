/*
 * Regular expressions in the part of ECMA-262 that means the same with and without the flags `u` and `v`. Lookaround,
 * references to groups, `\p{...}` and characters beyond 16 bits are not in it.
 */

export type Range = readonly [from: number, to: number];

/** A character out of ranges, or out of none of them. */
export interface CharacterSet {
  readonly ranges: readonly Range[];
  readonly isNegated: boolean;
}

export type Assertion = '^' | '$' | 'b' | 'B';

export type PatternNode =
  | { readonly kind: 'character'; readonly set: CharacterSet }
  /** The point, which matches line terminators only with a flag. */
  | { readonly kind: 'any' }
  | { readonly kind: 'assertion'; readonly assertion: Assertion }
  | { readonly kind: 'sequence' | 'choice'; readonly nodes: readonly PatternNode[] }
  | { readonly kind: 'repeat'; readonly node: PatternNode; readonly min: number; readonly max: number };

const maxLength = 2000;
const maxNesting = 50;
const maxRepeats = 1000;

const unsupported = new Error('a pattern that is not judged');

const digits: readonly Range[] = [[48, 57]];
const wordCharacters: readonly Range[] = [...digits, [65, 90], [95, 95], [97, 122]];
export const spaces: readonly Range[] = [
  [9, 13],
  [32, 32],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const classes: ReadonlyMap<string, readonly Range[]> = new Map([
  ['d', digits],
  ['w', wordCharacters],
  ['s', spaces],
  ['D', complement(digits)],
  ['W', complement(wordCharacters)],
  ['S', complement(spaces)],
]);
const controls: ReadonlyMap<string, number> = new Map([
  ['t', 9],
  ['n', 10],
  ['v', 11],
  ['f', 12],
  ['r', 13],
]);

/** Returns null for a pattern that is malformed or has other syntax. */
export function parsePattern(source: string): PatternNode | null {
  if (source.length > maxLength || /[\ud800-\udfff]/.test(source)) return null;
  try {
    return new Parser(source).parse();
  } catch (error) {
    if (error === unsupported) return null;
    throw error;
  }
}

class Parser {
  readonly #source: string;
  #at = 0;
  #nesting = 0;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): PatternNode {
    const node = this.#choice();
    if (this.#at < this.#source.length) throw unsupported;
    return node;
  }

  #choice(): PatternNode {
    const nodes = [this.#sequence()];
    while (this.#take(/\|/y) !== null) nodes.push(this.#sequence());
    return nodes.length === 1 ? nodes[0]! : { kind: 'choice', nodes };
  }

  #sequence(): PatternNode {
    const nodes: PatternNode[] = [];
    while (this.#at < this.#source.length && !'|)'.includes(this.#source[this.#at]!)) nodes.push(this.#term());
    return { kind: 'sequence', nodes };
  }

  #term(): PatternNode {
    const assertion = this.#take(/\^|\$|\\[bB]/y);
    // a quantifier after it is refused as the next term
    if (assertion !== null) return { kind: 'assertion', assertion: assertion.at(-1) as Assertion };
    const node = this.#atom();
    const quantifier = this.#take(/(?:[*+?]|\{\d+(?:,\d*)?\})\??/y);
    if (quantifier === null) return node;
    const [min, max] = repeats(quantifier);
    if (max < min || min > maxRepeats || (max > maxRepeats && max !== Infinity)) throw unsupported;
    return { kind: 'repeat', node, min, max };
  }

  #atom(): PatternNode {
    if (this.#take(/\./y) !== null) return { kind: 'any' };
    if (this.#take(/\((?!\?)|\(\?:|\(\?<[A-Za-z_]\w*>/y) !== null) return this.#group();
    const negation = this.#take(/\[\^?/y);
    if (negation !== null) return { kind: 'character', set: this.#class(negation === '[^') };
    const ranges = this.#escapedClass() ?? [single(this.#character(/[^\\^$.*+?()[\]{}|]/y))];
    return { kind: 'character', set: { ranges, isNegated: false } };
  }

  #group(): PatternNode {
    if (++this.#nesting > maxNesting) throw unsupported;
    const node = this.#choice();
    if (this.#take(/\)/y) === null) throw unsupported;
    this.#nesting--;
    return node;
  }

  #class(isNegated: boolean): CharacterSet {
    const ranges: Range[] = [];
    while (this.#take(/\]/y) === null) {
      const escaped = this.#escapedClass();
      const from = escaped === null ? this.#classCharacter() : 0;
      const isRange = this.#take(/-(?![\]-])/y) !== null;
      if (isRange && escaped !== null) throw unsupported;
      const to = isRange ? this.#classCharacter() : from;
      if (to < from) throw unsupported;
      ranges.push(...(escaped ?? [[from, to] as const]));
    }
    return { ranges, isNegated };
  }

  #classCharacter(): number {
    if (this.#take(/\\b/y) !== null) return 8;
    // with the flag `v` a bracket and a doubled sign are operators
    return this.#character(/(?!--|&&)[^\\[\]]/y);
  }

  #escapedClass(): readonly Range[] | null {
    const escape = this.#take(/\\[dDwWsS]/y);
    return escape === null ? null : classes.get(escape[1]!)!;
  }

  /** Reads a character for itself, or an escape of one. */
  #character(itself: RegExp): number {
    const plain = this.#take(itself);
    if (plain !== null) return plain.charCodeAt(0);
    const escape = this.#take(/\\(?:[tnvfr]|0(?!\d)|c[A-Za-z]|x[\da-fA-F]{2}|u[\da-fA-F]{4}|[^\da-zA-Z])/y);
    if (escape === null) throw unsupported;
    const code = codeOf(escape[1]!, escape.slice(2));
    if (code >= 0xd800 && code <= 0xdfff) throw unsupported;
    return code;
  }

  /** Takes what a sticky expression of this file matches here; null if it does not. */
  #take(expression: RegExp): string | null {
    expression.lastIndex = this.#at;
    const text = expression.exec(this.#source)?.[0] ?? null;
    this.#at += text?.length ?? 0;
    return text;
  }
}

function codeOf(letter: string, rest: string): number {
  if (letter === 'c') return rest.charCodeAt(0) % 32;
  if (letter === 'x' || letter === 'u') return Number.parseInt(rest, 16);
  return letter === '0' ? 0 : (controls.get(letter) ?? letter.charCodeAt(0));
}

function repeats(quantifier: string): [min: number, max: number] {
  const [min, max = min] = quantifier.match(/\d+/g) ?? [];
  if (min === undefined) return [quantifier.startsWith('+') ? 1 : 0, quantifier.startsWith('?') ? 1 : Infinity];
  return [Number(min), /,\}/.test(quantifier) ? Infinity : Number(max)];
}

function single(code: number): Range {
  return [code, code];
}

/** The characters of 16 bits outside of ranges in ascending order. */
function complement(ranges: readonly Range[]): Range[] {
  const bounds = [-1, ...ranges.flat(), 0x10000];
  return ranges.concat([[0, 0]]).map((_, i) => [bounds[2 * i]! + 1, bounds[2 * i + 1]! - 1] as const);
}

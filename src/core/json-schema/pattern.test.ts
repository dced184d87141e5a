import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { compilePattern, matchPattern } from './pattern.ts';
import type { Verdict } from './verdict.ts';

const free = (): void => undefined;

/** Null for a pattern that is not judged. */
function verdictOf(source: string, text: string): Verdict | null {
  const pattern = compilePattern(source, free);
  return pattern === null ? null : matchPattern(pattern, text, free);
}

const flagSets = ['', 'i', 'm', 's', 'im', 'is', 'ims'].flatMap((flags) => [flags, `${flags}u`, `${flags}v`]);

/** The answers of `RegExp` under all sets of flags that allow the pattern. */
function answers(source: string, text: string): boolean[] {
  return flagSets.flatMap((flags) => {
    try {
      return [new RegExp(source, flags).test(text)];
    } catch {
      return [];
    }
  });
}

function checkAgainstRegExp(source: string, text: string): void {
  const verdict = verdictOf(source, text);
  if (verdict === null || verdict === 'unknown') return;
  const expected = answers(source, text);
  const shown = `/${source}/ ${JSON.stringify(text)} ${verdict} ${expected.join()}`;
  assert.ok(
    expected.every((answer) => answer === (verdict === 'fits')),
    shown,
  );
}

const characters = [
  'a',
  'b',
  'B',
  's',
  'K',
  '7',
  '_',
  '-',
  ' ',
  '\n',
  '\u2028',
  '\r',
  'é',
  'É',
  'ſ',
  'K',
  'ß',
  'ẞ',
  'σ',
  'ς',
  'Σ',
  'ı',
  'İ',
  'ǅ',
  'ǆ',
  '中',
  '😀',
  '.',
  '\u0000',
  '\ufeff',
];
const text = fc.string({ unit: fc.constantFrom(...characters), maxLength: 6 });

const setItem = fc.oneof(
  fc.constantFrom(
    ...characters.filter((each) => each !== '-'),
    'a-z',
    'A-Z',
    '0-9',
    'à-ÿ',
    '\\x00-\\x7f',
    '\\u0100-\\uffff',
    '_',
  ),
  fc.constantFrom('\\d', '\\D', '\\w', '\\W', '\\s', '\\S', '\\b', '\\n', '\\-', '\\.', '\\]', '\\t'),
);
const set = fc
  .tuple(fc.boolean(), fc.array(setItem, { maxLength: 3 }))
  .map(([isNegated, items]) => `[${isNegated ? '^' : ''}${items.join('')}]`);
const atom = fc.oneof(
  fc.constantFrom(
    ...characters.map((each) => (each === '.' ? '\\.' : each)),
    '.',
    '\\d',
    '\\D',
    '\\w',
    '\\W',
    '\\s',
    '\\S',
    '\\x61',
    '\\u0073',
    '\\cJ',
    '\\0',
  ),
  set,
);
const quantifier = fc.constantFrom('', '', '', '*', '+', '?', '*?', '{2}', '{0}', '{1,2}', '{0,}', '{2,}?');
const { pattern } = fc.letrec<{ pattern: string; term: string; sequence: string }>((tie) => ({
  term: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.tuple(atom, quantifier).map((parts) => parts.join('')),
    fc.constantFrom('^', '$', '\\b', '\\B'),
    fc
      .tuple(fc.constantFrom('(', '(?:', '(?<n>'), tie('pattern'), fc.constant(')'), quantifier)
      .map((parts) => parts.join('')),
  ),
  sequence: fc.array(tie('term'), { maxLength: 4 }).map((terms) => terms.join('')),
  pattern: fc.array(tie('sequence'), { minLength: 1, maxLength: 2 }).map((parts) => parts.join('|')),
}));

describe('a pattern of a schema', () => {
  const judged: readonly (readonly [string, string, Verdict | null])[] = [
    ['^a*$', 'aaa', 'fits'],
    ['^a*$', 'abc', 'differs'],
    ['^a*$', 'aAa', 'unknown'],
    ['^[^a]$', 'A', 'unknown'],
    ['^.$', '\n', 'unknown'],
    ['^b$', 'a\nb', 'unknown'],
    ['ſ', 's', 'unknown'],
    ['[\\u2000-\\uffff]', 'k', 'unknown'],
    ['^[a-z]+$', 'müller', 'differs'],
    ['^[à-ÿ]$', 'É', 'unknown'],
    ['^[\\w.-]+$', 'a-b', 'fits'],
    ['😀', '😀', null],
    ['a', '😀', 'unknown'],
    ['(?=a)', 'a', null],
    ['(a)\\1', 'aa', null],
    ['\\p{L}', 'a', null],
    ['[a&&b]', 'a', null],
    ['[+--a]', 'a', null],
    ['(?i:a)', 'A', null],
    ['a{2', 'a{2', null],
    ['a**', 'a', null],
    ['(', 'a', null],
    ['a{1001}', 'a', null],
    ['(?:a{100}){100}', 'a', null],
    ['a', 'a'.repeat(10_001), 'unknown'],
  ];
  for (const [source, value, verdict] of judged) {
    it(`/${source}/ and ${JSON.stringify(value).slice(0, 20)}: ${verdict ?? 'not judged'}`, () =>
      assert.equal(verdictOf(source, value), verdict));
  }

  it('it is judged as RegExp does whatever the flags are', () => {
    fc.assert(fc.property(pattern, text, checkAgainstRegExp), { numRuns: 1000 });
  });

  it('any text that is a pattern is judged so, or not judged', () => {
    const sign = fc.constantFrom(...'abs19_^$\\.*+?()[]{}|-&,:<>=!/wWbBdtucx0 '.split(''));
    fc.assert(fc.property(fc.string({ unit: sign, maxLength: 12 }), text, checkAgainstRegExp), { numRuns: 1000 });
  });
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import type { Json } from '../json.ts';
import { jsonSchemaIssues } from './issues.ts';
import { inputSchema } from '../definition/schema.ts';

/** The faults as `path: message`. */
function faults(schema: Json, value: Json): string[] {
  return jsonSchemaIssues(schema, value).map(({ path, message }) => `${path}: ${message}`);
}

describe('a value checked against the JSON Schema of a package', () => {
  it('a wrong value is refused with its path and the expected value', () => {
    const order = z.object({
      id: z.string().min(2),
      amount: z.number().positive().max(100),
      state: z.enum(['new', 'paid']),
      note: z.string().nullable().optional(),
    });
    const schema = inputSchema(
      z.strictObject({ orders: z.array(order).min(1), pair: z.tuple([z.int(), z.boolean()]) }),
    );
    assert.deepEqual(faults(schema, []), [': it must be an object, not an array']);
    assert.deepEqual(faults(schema, { orders: [], pair: [1.5, 'x'], more: 1 }).toSorted(), [
      'more: unknown property',
      'orders: it must have at least 1 items',
      'pair[0]: it must be a whole number, not a number',
      'pair[1]: it must be a boolean, not a string',
    ]);
    const bad = { id: 'a', amount: 0, state: 'old', note: 7 };
    assert.deepEqual(faults(schema, { orders: [{}, bad], pair: [1, true] }).toSorted(), [
      'orders[0].amount: it is missing',
      'orders[0].id: it is missing',
      'orders[0].state: it is missing',
      'orders[1].amount: it must be more than 0',
      'orders[1].id: it must have at least 2 characters',
      'orders[1].note: it must be a string or null, not a number',
      'orders[1].state: it must be "new" or "paid"',
    ]);
    assert.deepEqual(faults(schema, { orders: [{ id: 'ab', amount: 100, state: 'paid' }], pair: [1, true] }), []);
  });

  it('a value is never refused if the library that wrote the schema accepts it', () => {
    const tree = z.object({
      name: z.string(),
      get children() {
        return z.array(tree);
      },
    });
    const schemas = [
      z.string().max(1),
      z.string().regex(/^[a-c]+$/),
      z.string().regex(/^[a-c]+$/i),
      z.string().regex(/^[^A-C]+$/i),
      z.string().regex(/^.+$/s),
      z.string().regex(/^b$/m),
      z.string().regex(/^\p{L}+$/u),
      z.looseRecord(z.string().regex(/^A/i), z.number()),
      z.string().min(2),
      z.email(),
      z.int().min(1),
      z.number().multipleOf(0.1),
      z.discriminatedUnion(
        'kind',
        [z.object({ kind: z.literal('a').default('a') }), z.object({ kind: z.literal('b').default('b') })],
        { unionFallback: true },
      ),
      z.union([z.string(), z.object({ a: z.number() })]),
      z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('a'), n: z.number() }),
        z.object({ kind: z.literal('b'), s: z.string().optional() }),
      ]),
      z.record(z.string().max(2), z.number()),
      z.tuple([z.string()], z.number()),
      z.object({ depth: z.number().default(3) }).catchall(z.string()),
      z.literal(['x', 5, null]),
      z.intersection(z.object({ a: z.number() }), z.object({ s: z.string() })),
      z.never(),
      z.unknown(),
      tree,
    ];
    const values: Json[] = [
      '',
      'a',
      'abc',
      'ABC',
      'a\nb\nc',
      'é',
      '😀',
      'a@b.example',
      'x'.repeat(300),
      null,
      true,
      0,
      1,
      1.5,
      0.3,
      1.01,
      2.03,
      5,
      -2,
      [],
      ['a'],
      ['a', 1],
      ['a', 'b'],
      {},
      { a: 1 },
      { a: '1' },
      { A: 1 },
      { a: 1, s: 's' },
      { abc: 1 },
      { __proto__: null },
      { kind: 'a', n: 1 },
      { kind: 'a' },
      { kind: 'b' },
      { depth: 1, other: 's' },
      { depth: 1, other: 2 },
      { name: 'r', children: [{ name: 'c', children: [] }] },
      { name: 'r', children: [{ name: 5, children: [] }] },
      JSON.parse('{"__proto__": 1, "constructor": 2}') as Json,
    ];
    let [refused, took] = [0, 0];
    for (const schema of schemas) {
      for (const value of values) {
        const isFine = schema.safeParse(value).success;
        const found = faults(inputSchema(schema), value);
        assert.ok(
          !isFine || found.length === 0,
          `${JSON.stringify(inputSchema(schema))} ${JSON.stringify(value)} ${found.join()}`,
        );
        if (isFine) took++;
        else if (found.length > 0) refused++;
      }
    }
    assert.ok(took > 60 && refused > 300, `${took} ${refused}`);
  });

  it('an unsupported or malformed keyword does not refuse it', () => {
    const unjudged: Json[] = [
      { pattern: '^(?=b)' },
      { format: 'email' },
      { patternProperties: { '(?<!a)b': false }, additionalProperties: false },
      { not: { type: 'string', pattern: '^(?=a)' } },
      { not: { format: 'date' } },
      { oneOf: [{ minLength: 1 }, { maxLength: 9 }] },
      { $schema: 'http://json-schema.org/draft-07/schema#', type: 'number' },
      { $defs: { x: { $id: 'x', $schema: 'https://example.org/dialect', type: 'number' } }, $ref: 'x' },
      { contains: 5, uniqueItems: 'yes', minContains: '1', multipleOf: -1, pattern: 5, patternProperties: 5 },
      { contains: false, minContains: '1' },
      { dependentRequired: { a: 'b' }, dependentSchemas: { a: 'b' }, if: 5, minProperties: 'x', anyOf: 5 },
      { properties: 5, prefixItems: 5, unevaluatedProperties: false, unevaluatedItems: false },
      { $ref: '#/$defs/absent', unevaluatedProperties: false, unevaluatedItems: false },
      { anyOf: [{ type: 'null' }, { format: 'date' }] },
      { type: 'text' },
      { enum: 'a', required: 5, items: [], minLength: 'x', $ref: 7, $dynamicRef: 7 },
      { $ref: '#/$defs/absent' },
      { $ref: '#absent' },
      { $defs: { x: { $anchor: 'a', type: 'number' }, y: { $anchor: 'a', type: 'number' } }, $ref: '#a' },
      { $defs: { x: { $id: 'a', type: 'number' }, y: { $id: 'a', type: 'number' } }, $ref: 'a' },
      { $defs: { x: { $id: 'a#b', type: 'number' } }, $ref: '#/$defs/x' },
      { $ref: 'https://example.org/other.json' },
      { $ref: '#/%' },
      { $defs: { far: { $id: 'https://example.org/far', $ref: '#/$defs/x' } }, $ref: '#/$defs/far' },
      ['a'],
      'a',
      5,
      null,
      true,
    ];
    for (const schema of unjudged) {
      for (const value of ['a', { a: 1 }, ['a']]) assert.deepEqual(faults(schema, value), [], JSON.stringify(schema));
    }
    assert.deepEqual(faults({ not: { type: 'string' } }, 'a').length, 1);
    assert.deepEqual(faults(false, 'a').length, 1);
  });

  it('references are followed, and escapes in them', () => {
    const schema = { $defs: { 'a/b~c': { type: 'string' } }, properties: { x: { $ref: '#/$defs/a~1b~0c' } } };
    assert.deepEqual(faults(schema, { x: 1 }), ['x: it must be a string, not a number']);
    assert.deepEqual(faults(schema, { x: 'y' }), []);
    const tree = { type: 'object', properties: { next: { $ref: '#' }, n: { type: 'number' } } };
    assert.deepEqual(faults(tree, { next: { next: { n: 'x' } } }), ['next.next.n: it must be a number, not a string']);
  });
});

/** Each definition refers twice to the next: 2^30 schemas. */
function doubled(kind: 'anyOf' | 'allOf' | 'oneOf'): Json {
  const refs = Array.from({ length: 30 }, (_, i) => ({ $ref: `#/$defs/d${i + 1}` }));
  const $defs = Object.fromEntries(refs.map((ref, i) => [`d${i}`, { [kind]: [ref, ref] }]));
  return { $defs: { ...$defs, d30: { type: kind === 'allOf' ? 'string' : 'number' } }, $ref: '#/$defs/d0' };
}

function doubledObject(): { readonly [name: string]: Json } {
  return doubled('anyOf') as { readonly [name: string]: Json };
}

function nested(depth: number): Json {
  let value: Json = 1;
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

describe('the message of a fault', () => {
  const cases: readonly (readonly [Json, Json, string])[] = [
    [{ uniqueItems: true }, [{ a: 1, b: 2 }, 5, { b: 2, a: 1 }], '[2]: it equals the item at 0'],
    [{ contains: { type: 'number' } }, ['a'], ': at least 1 items must fit `contains`, not 0'],
    [{ contains: true, maxContains: 1 }, [1, 2], ': at most 1 items may fit `contains`, not 2'],
    [{ dependentRequired: { a: ['b'] } }, { a: 1 }, 'b: it is missing, and a requires it'],
    [{ dependentSchemas: { a: { required: ['b'] } } }, { a: 1 }, 'b: it is missing'],
    [{ if: { required: ['c'] }, else: { required: ['b'] } }, { a: 1 }, 'b: it is missing'],
    [
      JSON.parse('{"if": {"format": "date"}, "then": false, "else": false}') as Json,
      1,
      ': it fits neither `then` nor `else`',
    ],
    [{ minProperties: 1 }, {}, ': it must have at least 1 properties'],
    [{ multipleOf: 0.1 }, 0.35, ': it must be a multiple of 0.1'],
    [{ pattern: '^a+$' }, '7', ': it must match the pattern ^a+$'],
    [{ patternProperties: { '^7': { type: 'string' } } }, { 78: 1 }, '78: it must be a string, not a number'],
    [{ patternProperties: { '^7': true }, additionalProperties: false }, { 8: 1 }, '8: unknown property'],
    [{ properties: { a: true }, unevaluatedProperties: false }, { b: 1 }, 'b: unknown property'],
    [{ prefixItems: [true], unevaluatedItems: { type: 'string' } }, [1, 2], '[1]: it must be a string, not a number'],
    [
      { $defs: { x: { $anchor: 'a', type: 'null' } }, items: { $ref: '#a' } },
      [1],
      '[0]: it must be null, not a number',
    ],
  ];
  for (const [schema, value, fault] of cases) {
    it(`it is reported with its path: ${fault}`, () => assert.deepEqual(faults(schema, value), [fault]));
  }

  it('a member that a sibling may have evaluated is not called unknown', () => {
    for (const part of [{ patternProperties: { '(?=a)': true } }, { $ref: 'other.json' }, { if: { format: 'x' } }]) {
      const anyOf = [{ properties: { b: true } }, { not: { format: 'x' }, properties: { a: true } }];
      assert.deepEqual(faults({ ...part, anyOf, unevaluatedProperties: false }, { a: 1, b: 1 }), []);
    }
    const schema = { anyOf: [{ not: { format: 'x' }, properties: { a: true } }], unevaluatedProperties: false };
    assert.deepEqual(faults(schema, { a: 1, b: 1 }), ['b: unknown property']);
  });

  it('a number is a multiple if it is one as a decimal or as a binary number', () => {
    const pairs = [
      [0.3, 0.1],
      [2.03, 0.07],
      [1e23, 10],
      [2 ** 70, 1024],
      [1e308, 1e-8],
      [-4.5, 1.5],
      [0, 0.3],
    ];
    for (const [value, multipleOf] of pairs) assert.deepEqual(faults({ multipleOf: multipleOf! }, value!), []);
    for (const [value, multipleOf] of [
      [0.35, 0.1],
      [1e308, 0.123456789],
      [7, 2],
      [0.5, 1],
    ]) {
      assert.equal(faults({ multipleOf: multipleOf! }, value!).length, 1, `${value} ${multipleOf}`);
    }
  });
});

describe('a hostile JSON Schema', () => {
  const hostile: readonly (readonly [string, Json, Json])[] = [
    ['a pattern with catastrophic backtracking', { pattern: '^([a-z]+)*$' }, `${'a'.repeat(40)}!`],
    ['such a pattern for names', { patternProperties: { '^([a-z]+)*$': {} } }, { [`${'a'.repeat(40)}!`]: 1 }],
    [
      'such a pattern behind a reference',
      { $defs: { p: { pattern: '^(a|a)*$' } }, $ref: '#/$defs/p' },
      'a'.repeat(40) + '!',
    ],
    ['a pattern with many states for a long text', { pattern: '(?:.?.?.?.?.?a){100}x' }, 'a'.repeat(10_000)],
    ['a pattern with large sets', { pattern: `(?:[${'ab'.repeat(900)}]?){900}x` }, 'c'.repeat(10_000)],
    ['a pattern that repeats nothing', { pattern: '(?:(?:(?:){1000}){1000}){1000}' }, 'a'],
    ['a pattern of brackets', { pattern: `${'('.repeat(900)}${')'.repeat(900)}` }, 'a'],
    [
      'many patterns for many names',
      { patternProperties: Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`^a*b{${i % 900}}$`, {}])) },
      Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`${'a'.repeat(50)}${i}`, 1])),
    ],
    ['30 doubled references with evaluated members', { ...doubledObject(), unevaluatedProperties: false }, { a: 1 }],
    [
      'a long list of unique items',
      { uniqueItems: true },
      Array.from({ length: 200_000 }, (_, i) => ({ [`${'k'.repeat(100)}${i % 7}`]: i })),
    ],
    ['unique items at every level', { uniqueItems: true, items: { $ref: '#' } }, nested(5000)],
    [
      'many identifiers',
      { $defs: Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`x${i}`, { $id: `x${i}` }])), $ref: 'x7' },
      1,
    ],
    [
      'dynamic references through many resources',
      { $id: 'root', $dynamicAnchor: 'a', anyOf: [{ $id: 'b', $dynamicRef: 'root#a' }, { $dynamicRef: '#a' }] },
      1,
    ],
    ['30 doubled references in anyOf', doubled('anyOf'), 'a'],
    ['30 doubled references in oneOf', doubled('oneOf'), 'a'],
    ['30 doubled references in allOf', doubled('allOf'), 'a'],
    ['a reference to itself', { $ref: '#' }, 'a'],
    [
      'references in a circle',
      { $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' },
      'a',
    ],
    ['itself, twice', { anyOf: [{ $ref: '#' }, { $ref: '#' }] }, 'a'],
    ['a deep value by a recursive reference', { items: { $ref: '#' } }, nested(5000)],
    ['a deep constant', { const: nested(5000) }, nested(5000)],
    [
      'a long list of choices for a long list',
      { items: { enum: Array.from({ length: 20_000 }, (_, i) => `x${i}`) } },
      Array.from({ length: 20_000 }, () => 'y'),
    ],
    [
      'many alternatives for a long text',
      { anyOf: Array.from({ length: 20_000 }, () => ({ maxLength: 10 })) },
      '😀'.repeat(200_000),
    ],
    [
      'many names, asked again and again',
      { anyOf: Array.from({ length: 20_000 }, () => ({ additionalProperties: { type: 'string' } })) },
      Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`k${i}`, 1])),
    ],
  ];
  for (const [what, schema, value] of hostile) {
    it(`its check is given up soon: ${what}`, () => {
      const begun = performance.now();
      const found = faults(schema, value);
      assert.ok(performance.now() - begun < 2000, `${performance.now() - begun} ms`);
      assert.ok(found.length <= 20 && found.join('').length < 20_000);
    });
  }

  it('its budget suffices for 10,000 unique items', () => {
    const items = Array.from({ length: 10_000 }, (_, i) => ({ id: i }));
    assert.deepEqual(faults({ uniqueItems: true }, items), []);
    assert.deepEqual(faults({ uniqueItems: true }, [...items, { id: 7 }]), ['[10000]: it equals the item at 7']);
  });

  it('repeated checks cost no more', () => {
    const schema = doubled('anyOf');
    const begun = performance.now();
    for (let i = 0; i < 2000; i++) faults(schema, i);
    assert.ok(performance.now() - begun < 2000, `${performance.now() - begun} ms`);
  });

  it('its messages are bounded', () => {
    const name = 'n'.repeat(100_000);
    const [fault] = jsonSchemaIssues({ required: [name] }, {});
    assert.ok(fault!.path.length < 300);
    assert.ok(faults({ enum: [name, name] }, 'a')[0]!.length < 300);
    assert.equal(
      faults(
        { items: { type: 'string' } },
        Array.from({ length: 1000 }, () => 1),
      ).length,
      20,
    );
  });
});

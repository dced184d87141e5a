import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import { inputSchema, issuesOf } from './schema.ts';
import { unchecked } from './workflow.ts';

describe('the JSON Schema of an input', () => {
  it("the JSON Schema comes from the library's own export and describes the unparsed input, so defaults may be left out", () => {
    const schema = inputSchema(z.object({ url: z.string(), depth: z.number().default(3) }));
    assert.deepEqual((schema as { required: unknown }).required, ['url']);
  });

  it('the JSON Schema is null if the library has none, or none for this schema', () => {
    assert.equal(inputSchema(unchecked<{ a: number }>()), null);
    assert.equal(inputSchema(z.object({ at: z.date() })), null);
  });
});

describe('the issues of a schema', () => {
  it('an issue has its path as people write it', () => {
    const result = z
      .object({ orders: z.array(z.object({ amount: z.number() })) })
      .safeParse({ orders: [{ amount: 1 }, {}] });
    assert.deepEqual(
      issuesOf(result.error!.issues).map(({ path }) => path),
      ['orders[1].amount'],
    );
  });

  it('an issue may have path segments as objects, symbols, and no path at all', () => {
    const issues: StandardSchemaV1.Issue[] = [
      { message: 'a', path: [{ key: 'x' }, { key: 0 }] },
      { message: 'b', path: [Symbol('s')] },
      { message: 'c' },
    ];
    assert.deepEqual(
      issuesOf(issues).map(({ path }) => path),
      ['x[0]', 'Symbol(s)', ''],
    );
  });
});

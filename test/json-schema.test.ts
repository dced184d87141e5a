import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { jsonSchemaIssues } from '../src/core/json-schema/issues.ts';
import type { Json } from '../src/core/json.ts';
import { unjudged } from './json-schema/unjudged.ts';

interface Group {
  readonly file: string;
  readonly description: string;
  readonly schema: Json;
  readonly tests: readonly { readonly description: string; readonly data: Json; readonly valid: boolean }[];
}

const suite = readFileSync(join(import.meta.dirname, 'json-schema', 'suite.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Group);

/** The names of the cases whose value is as expected, but is judged in the other way. */
function wronglyJudged(groups: readonly Group[], isValid: boolean): string[] {
  return groups.flatMap(({ file, description, schema, tests }) =>
    tests
      .filter(({ data, valid }) => valid === isValid && (jsonSchemaIssues(schema, data).length === 0) !== isValid)
      .map((each) => `${file} / ${description} / ${each.description}`),
  );
}

describe('docs/decisions/json-schemas-of-packages.md: the cases of the JSON Schema Test Suite', () => {
  const expected = Object.values(unjudged).flat();
  for (const [file, groups = []] of Object.entries(Object.groupBy(suite, (group) => group.file))) {
    it(`${file}: a valid value is accepted, an invalid one refused unless a reason speaks against it`, () => {
      assert.deepEqual(wronglyJudged(groups, true), []);
      const ofFile = expected.filter((name) => name.startsWith(`${file} / `));
      assert.deepEqual(wronglyJudged(groups, false).toSorted(), ofFile.toSorted());
    });
  }

  it('each case that is not judged exists, once', () => {
    const names = suite.flatMap(({ file, description, tests }) =>
      tests.map((each) => `${file} / ${description} / ${each.description}`),
    );
    assert.deepEqual(
      expected.filter((name) => names.filter((each) => each === name).length !== 1),
      [],
    );
    assert.equal(new Set(expected).size, expected.length);
  });
});

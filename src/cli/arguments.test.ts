import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { InvalidArgumentError } from 'commander';
import { CloacinaError } from '../core/error.ts';
import { moment, readInput } from './arguments.ts';

let dir = '';

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cloacina-given-'));
});

after(() => rm(dir, { recursive: true, force: true }));

async function inFile(bytes: Uint8Array): Promise<string> {
  const file = join(dir, 'input.json');
  await writeFile(file, bytes);
  return `@${file}`;
}

/** The code and message with which an input is refused. */
async function refusal(given: string): Promise<string> {
  const error: unknown = await readInput(given).then(
    (value) => new Error(`it was taken: ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof CloacinaError, String(error));
  return `${error.code} ${error.message}`;
}

describe('interfaces.md, CLI: --input JSON | @FILE', () => {
  test('a file of more than 50 MB is refused, not cut', async () => {
    const large = Buffer.alloc(60_000_000, ' ');
    large.write('[1]');
    assert.match(await refusal(await inFile(large)), /^PAYLOAD_TOO_LARGE .*input\.json has more than 50 MB/);
  });

  test('text that is not UTF-8 is refused; a byte order mark, and U+FFFD itself, are accepted', async () => {
    assert.match(await refusal(await inFile(Buffer.from('"caf\xe9"', 'latin1'))), /^USAGE .*input\.json is not UTF-8/);
    assert.match(await refusal('"caf\ufffd"'), /^USAGE the value of --input is not UTF-8, or contains/);
    assert.equal(await readInput(await inFile(Buffer.from('\ufeff"\ufffd"'))), '\ufffd');
    assert.equal(await readInput(String.raw`"\ufffd"`), '\ufffd');
  });

  test('a number that JavaScript would change is refused; text of digits and whole powers of ten are not', async () => {
    for (const number of ['12345678901234567890', '-9007199254740993', '1e999']) {
      assert.match(await refusal(`{"n":[${number}]}`), new RegExp(`^USAGE the number ${number} would lose digits`));
    }
    const fine = { text: '12345678901234567890', safe: 9_007_199_254_740_991, large: 1e20, small: 0.1 };
    assert.deepEqual(await readInput(JSON.stringify(fine)), fine);
  });
});

describe('interfaces.md, CLI: a time', () => {
  test('a time is ISO 8601; a date is its midnight in UTC, a time without offset is UTC', () => {
    assert.equal(moment('2026-03-29T02:30:00+02:00').toISOString(), '2026-03-29T00:30:00.000Z');
    assert.equal(moment('2026-03-29T02:30').toISOString(), '2026-03-29T02:30:00.000Z');
    assert.equal(moment('2028-02-29').toISOString(), '2028-02-29T00:00:00.000Z');
  });

  for (const given of ['2026-02-30', '2027-02-29', '2026-04-31T10:00Z', '2026-01-01T24:30Z', '0050-01-01', 'today']) {
    test(`'${given}' is refused, not rolled over`, () => {
      assert.throws(() => moment(given), InvalidArgumentError);
    });
  }
});

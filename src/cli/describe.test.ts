import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CloacinaError } from '../core/error.ts';
import { buildPackage } from '../package/build.ts';
import { describeInIsolate } from './describe.ts';

const head = `import { workflow } from 'cloacina';
const w = workflow('w');
w.task('a', () => 1);
`;

let root = '';

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'cloacina-describe-'));
});

after(() => rm(root, { recursive: true, force: true }));

/** What packing a project with this entry is refused with. */
async function refusal(name: string, source: string): Promise<string> {
  const dir = join(root, name.replaceAll(' ', '-'));
  await mkdir(join(dir, 'src'), { recursive: true });
  const about = { name: 'flows', version: '1.0.0', type: 'module', cloacina: { entry: 'src/index.ts' } };
  await writeFile(join(dir, 'package.json'), JSON.stringify(about));
  await writeFile(join(dir, 'src', 'index.ts'), `${head}${source}\nexport default w;\n`);
  const error: unknown = await buildPackage(dir, { describe: describeInIsolate }).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof CloacinaError, String(error));
  return `${error.code}: ${error.message}`;
}

describe('packages.md, packing: what does not load or define is refused', { concurrency: 2 }, () => {
  const cases: readonly (readonly [name: string, source: string, said: RegExp])[] = [
    [
      'an error',
      `function boom(): never {\n  throw new RangeError('no config');\n}\nboom();`,
      /^BUILD_FAILED: package flows v1\.0\.0 does not load: src\/index\.ts:5:9: no config$/,
    ],
    ['a text', `if (w !== undefined) throw 'x';`, /^BUILD_FAILED: .* does not load: its code threw "x"$/],
    [
      'an error with a code of the system',
      `throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' });`,
      /^BUILD_FAILED: .*src\/index\.ts:4:21: away$/,
    ],
    ['an exit', `process.exit(3);`, /^BUILD_FAILED: .*exited with code 3$/],
    [
      'a task twice',
      `w.task('a', () => 2);`,
      /^DEFINITION_INVALID: src\/index\.ts:4:3: workflow 'w': there are two tasks named 'a'$/,
    ],
    [
      'an unknown need',
      `w.task('b', { needs: { x: { name: 'zz' } as never } }, () => 2);`,
      /^DEFINITION_INVALID: src\/index\.ts:4:3: workflow 'w': task 'b' needs 'zz'/,
    ],
    [
      'a bad cron',
      `w.schedule('nightly', { cron: '61 * * * *' });`,
      /^SCHEDULE_INVALID: cron: '61 \* \* \* \*'.*\(schedule 'nightly' of workflow 'w'\)$/,
    ],
  ];
  for (const [name, source, said] of cases) {
    test(name, async () => assert.match(await refusal(name, source), said));
  }
});

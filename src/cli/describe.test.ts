import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CloacinaError } from '../core/error.ts';
import { buildPackage } from '../package/pack/build.ts';
import type { BundledCode } from '../package/pack/build.ts';
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

/** The error of packing a project with this entry. */
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

describe(
  'registry.md, Packing: a package that does not load or define workflows is refused',
  { concurrency: 2 },
  () => {
    const cases: readonly (readonly [name: string, source: string, message: RegExp])[] = [
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
    for (const [name, source, message] of cases) {
      test(name, async () => assert.match(await refusal(name, source), message));
    }
  },
);

describe('registry.md, Packing: code that checks its environment when it is loaded', { concurrency: 2 }, () => {
  const check = `const need = (name: string): string => process.env[name] ?? fail(name);
function fail(name: string): never { throw new Error(name + ' is not set'); }
`;

  /** Packs a project with this entry and this environment. */
  async function packed(name: string, source: string, env: readonly string[], environment: object): Promise<string> {
    const dir = join(root, name.replaceAll(' ', '-'));
    await mkdir(join(dir, 'src'), { recursive: true });
    const cloacina = { entry: 'src/index.ts', permissions: { env } };
    await writeFile(join(dir, 'package.json'), JSON.stringify({ name: 'flows', version: '1.0.0', cloacina }));
    await writeFile(join(dir, 'src', 'index.ts'), `${head}${source}\nexport default w;\n`);
    const describeWith = (code: BundledCode): ReturnType<typeof describeInIsolate> =>
      describeInIsolate(code, { PATH: '/usr/bin', ...environment });
    const made = await buildPackage(dir, { describe: describeWith }).catch((thrown: unknown) => thrown);
    if (made instanceof CloacinaError) return `${made.code}: ${made.message}`;
    return (made as { readonly digest: string }).digest;
  }

  test('the project is packed if the names that it asks for are set, whatever their values', async () => {
    const source = `${check}export const token = need('H_TOKEN');`;
    const first = await packed('set', source, ['H_TOKEN'], { H_TOKEN: 'a' });
    assert.match(first, /^sha256:/);
    assert.equal(await packed('set again', source, ['H_TOKEN'], { H_TOKEN: 'b' }), first);
  });

  test('the error says which name is not set, and which was not requested', async () => {
    const source = `${check}process.env['NOISE'];\nneed('H_TOKEN');`;
    assert.match(
      await packed('unset', source, ['H_TOKEN'], {}),
      /^BUILD_FAILED: .* does not load: src\/index\.ts:5:\d+: H_TOKEN is not set; H_TOKEN is in permissions\.env but is not set here: set it, or use --env-file$/,
    );
    assert.match(
      await packed('unasked', source, [], { H_TOKEN: 'a' }),
      /^BUILD_FAILED: .* does not load: src\/index\.ts:5:\d+: H_TOKEN is not set; H_TOKEN is not in permissions\.env$/,
    );
  });

  test('the code may end the process, list the environment, or check for a name in it', async () => {
    const ways = [
      `if (!('H_TOKEN' in process.env)) process.exit(1);`,
      `if (process.env.H_TOKEN === undefined) process.exit(1);`,
      `import { env } from 'node:process';\nif (env.H_TOKEN === undefined) process.exit(1);`,
      `const { H_TOKEN } = { ...process.env };\nif (H_TOKEN === undefined) process.exit(1);`,
      `if (!Object.keys(process.env).includes('H_TOKEN')) process.exit(1);`,
    ];
    for (const [at, source] of ways.entries()) {
      const message = await packed(`exit ${at}`, source, ['H_TOKEN'], {});
      assert.match(message, /exited with code 1.*; H_TOKEN is in permissions\.env but is not set here/, source);
    }
    const listing = await packed('listing', ways[4]!, [], {});
    assert.match(listing, /exited with code 1; it can read only the environment variables in permissions\.env$/);
  });

  test('an error with a cause of its own names no variable that it does not name itself', async () => {
    const reading = `process.env['NOISE'];\n`;
    for (const [at, source] of [
      `import { readFileSync } from 'node:fs';\nreadFileSync(import.meta.dirname + '/none.txt');`,
      `import { writeFileSync } from 'node:fs';\nwriteFileSync('/tmp/none.txt', '');`,
      `import { createRequire } from 'node:module';\nconst name = 'none';\ncreateRequire(import.meta.url)(name);`,
    ].entries()) {
      const message = await packed(`own cause ${at}`, reading + source, ['H_TOKEN'], {});
      assert.match(message, /^BUILD_FAILED: .* does not load: /);
      assert.doesNotMatch(message, /NOISE|H_TOKEN/);
    }
    const named = `process.env['H_FILE'];\nthrow Object.assign(new Error('H_FILE names no file'), { code: 'ENOENT' });`;
    assert.match(await packed('named cause', named, [], {}), /; H_FILE is not in permissions\.env$/);
  });

  test('the zone and the language of the machine do not change a package', async () => {
    const source = `if (new Date(0).getTimezoneOffset() !== 0) w.task('b', () => 2);
if (Intl.DateTimeFormat().resolvedOptions().locale !== 'en-US') w.task('c', () => 3);`;
    const plain = await packed('zone', source, [], {});
    assert.match(plain, /^sha256:/);
    assert.equal(
      await packed('zone', source, [], { TZ: 'Asia/Tokyo', LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' }),
      plain,
    );
  });

  test('the code may write to the environment', async () => {
    const source = `process.env['MADE'] = 'x';\ndelete process.env['GONE'];\nObject.assign(process.env, { MORE: 'y' });
if (process.env['MADE'] + process.env['MORE'] !== 'xy') throw new Error('not written');`;
    assert.match(await packed('writing', source, [], {}), /^sha256:/);
  });

  test('the code must not derive its graph from the environment', async () => {
    const source = `if (process.env['H_MODE'] === 'b') w.task('b', () => 2);`;
    assert.match(
      await packed('graph', source, ['H_MODE'], { H_MODE: 'b' }),
      /^BUILD_FAILED: .*its workflows depend on H_MODE; read the environment inside tasks, with ctx\.env$/,
    );
    assert.match(await packed('no graph', source, ['H_MODE'], { H_MODE: 'a' }), /^sha256:/);
  });
});

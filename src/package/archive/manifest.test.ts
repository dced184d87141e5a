import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PackageInvalidError } from '../../core/error.ts';
import type { TaskSpec } from '../../core/definition/spec.ts';
import { sampleManifest, sampleTask, sampleWorkflow } from '../../testing/sample-package.ts';
import { checkEngine, defaultEngine, runningEngine } from './engine-range.ts';
import { formatManifest, parseManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';

const hash = 'a'.repeat(64);
const valid: Manifest = { ...sampleManifest(), files: { 'code/index.mjs': hash } };

/** The problems of a manifest as `code path`. */
function problemsOf(manifest: unknown): string[] {
  try {
    parseManifest(JSON.stringify(manifest));
  } catch (error) {
    assert(error instanceof PackageInvalidError);
    assert.equal(error.code, 'MANIFEST_INVALID');
    return error.problems.map((problem) => `${problem.code} ${problem.path}`);
  }
  return [];
}

function withTask(change: Partial<TaskSpec>): unknown {
  const workflow = sampleWorkflow('w');
  return { ...valid, workflows: [{ ...workflow, tasks: [...workflow.tasks, { ...sampleTask('extra'), ...change }] }] };
}

test('registry.md: a valid manifest is read unchanged, and written again as the same text', () => {
  const text = formatManifest(valid);
  assert.deepEqual(parseManifest(text), valid);
  assert.equal(formatManifest(parseManifest(text)), text);
});

test('registry.md: a manifest has one text, whatever the order of its keys and files', () => {
  const files = { 'source/ä.ts': hash, 'source/z.ts': hash, 'code/index.mjs': hash };
  const shuffled = Object.fromEntries(Object.entries({ ...valid, files }).toReversed());
  const manifest = parseManifest(JSON.stringify(shuffled));
  assert.equal(formatManifest(manifest), formatManifest(parseManifest(JSON.stringify({ ...valid, files }))));
  assert.deepEqual(Object.keys(manifest.files), ['code/index.mjs', 'source/z.ts', 'source/ä.ts']);
});

test('registry.md: every problem is reported, each with a code and a path', () => {
  const workflow = sampleWorkflow('w');
  const broken = {
    ...valid,
    extra: 1,
    entry: 'code/main.mjs',
    package: { ...valid.package, version: 'v1' },
    workflows: [
      { ...workflow, failFast: 'no', colour: 'red' },
      { ...workflow, output: { task: 'nowhere', settled: false } },
    ],
    permissions: { net: false, env: [], read: [] },
    files: { '../evil': hash, 'code/a.mjs': 'nothing' },
  };
  assert.deepEqual(problemsOf(broken).toSorted(), [
    'BAD_PATH files["../evil"]',
    'BAD_VALUE entry',
    'BAD_VALUE files["code/a.mjs"]',
    'BAD_VALUE package.version',
    'DUPLICATE_NAME workflows[1].name',
    'ENTRY_MISSING files',
    'MISSING_KEY permissions.write',
    'UNKNOWN_KEY extra',
    'UNKNOWN_KEY workflows[0].colour',
    'UNKNOWN_TASK workflows[1].output.task',
    'WRONG_TYPE workflows[0].failFast',
  ]);
});

test('registry.md: a message names what is wrong and what to do', () => {
  assert.throws(
    () => parseManifest(JSON.stringify({ ...valid, colour: 'red' })),
    /colour: 'colour' is not a key.*remove it/,
  );
});

test('a workflow whose tasks do not fit together is refused', () => {
  const base = sampleWorkflow('w');
  const tasks = (list: TaskSpec[]): unknown => ({ ...valid, workflows: [{ ...base, output: null, tasks: list }] });
  assert.deepEqual(problemsOf(tasks([])), ['BAD_VALUE workflows[0].tasks']);
  assert.deepEqual(problemsOf(tasks([sampleTask('a'), sampleTask('a')])), [
    'DUPLICATE_NAME workflows[0].tasks[1].name',
  ]);
  assert.deepEqual(problemsOf(tasks([sampleTask('a', ['b c'])])), ['UNKNOWN_TASK workflows[0].tasks[0].needs["b c"]']);
  assert.deepEqual(problemsOf(tasks([sampleTask('a', ['a'])])), ['CYCLE workflows[0].tasks']);
  const ring = [sampleTask('a', ['c']), sampleTask('b', ['a']), sampleTask('c', ['b']), sampleTask('d', ['a'])];
  assert.deepEqual(problemsOf(tasks(ring)), ['CYCLE workflows[0].tasks']);
  assert.throws(() => parseManifest(JSON.stringify(tasks(ring))), /'a' -> 'c' -> 'b' -> 'a'/);
});

test('a wide and long graph is checked quickly', () => {
  const chain = Array.from({ length: 5000 }, (_, i) => sampleTask(`t${i}`, i === 0 ? [] : [`t${i - 1}`, 't0']));
  const begun = performance.now();
  assert.deepEqual(problemsOf({ ...valid, workflows: [{ ...sampleWorkflow('w'), output: null, tasks: chain }] }), []);
  assert(performance.now() - begun < 2000);
});

test('the fields of a task are those of its kind', () => {
  assert.deepEqual(problemsOf(withTask({ kind: 'sleep', sleep: { for: 5 }, retry: null, timeout: null })), []);
  assert.deepEqual(problemsOf(withTask({ kind: 'sleep', sleep: { for: 5 } })), [
    'KIND_MISMATCH workflows[0].tasks[3].timeout',
    'KIND_MISMATCH workflows[0].tasks[3].retry',
  ]);
  assert.deepEqual(problemsOf(withTask({ kind: 'map' })), ['KIND_MISMATCH workflows[0].tasks[3].map']);
  assert.deepEqual(problemsOf(withTask({ timeout: -1 })), ['BAD_VALUE workflows[0].tasks[3].timeout']);
  assert.deepEqual(problemsOf(withTask({ timeout: 1.5 })).length, 1);
});

test('a schedule has exactly one rule', () => {
  const schedule = {
    name: 'nightly',
    input: null,
    cron: '0 2 * * *',
    every: null as number | null,
    at: null,
    timezone: 'UTC',
    startAt: null,
    endAt: null,
    jitter: 0,
    overlap: 'skip',
    catchup: 'latest',
    max: 100,
    window: 1,
    paused: false,
  };
  const workflows = (every: number | null): unknown => [
    { ...sampleWorkflow('w'), schedules: [{ ...schedule, every }] },
  ];
  assert.deepEqual(problemsOf({ ...valid, workflows: workflows(null) }), []);
  assert.deepEqual(problemsOf({ ...valid, workflows: workflows(5) }), ['BAD_VALUE workflows[0].schedules[0]']);
});

test('files must have paths that every system can hold, and include the entry', () => {
  const bad = [
    '/etc/passwd',
    'C:/x',
    'code/../x',
    'code/a\\b',
    'code/aux.txt',
    'code/x.',
    'code/.env',
    'x.ts',
    'code/a:b',
  ];
  for (const path of bad) {
    const problems = problemsOf({ ...valid, files: { ...valid.files, [path]: hash } });
    assert.equal(problems.length, 1, path);
    assert.match(problems[0] ?? '', /^BAD_PATH/);
  }
  const clashes = { 'code/index.mjs': hash, 'code/Index.mjs': hash, 'assets/a': hash, 'assets/a/b': hash };
  assert.equal(problemsOf({ ...valid, files: clashes }).length, 2);
  assert.deepEqual(problemsOf({ ...valid, files: {} }), ['ENTRY_MISSING files']);
});

const named = (name: string, version: string): unknown => ({
  ...valid,
  package: { ...valid.package, name, version },
});

test('names of packages and versions: scopes are allowed, build metadata is not', () => {
  for (const name of ['simple_demo', '@shop/daily-load', 'a.b'])
    assert.deepEqual(problemsOf(named(name, '1.0.0-rc.1')), []);
  for (const name of ['', 'a/b/c', '../x', 'a b', '.x'])
    assert.deepEqual(problemsOf(named(name, '1.0.0')), ['BAD_VALUE package.name']);
  for (const version of ['1', '1.0', 'v1.0.0', '1.0.0+build', ' 1.0.0']) {
    assert.deepEqual(problemsOf(named('a', version)), ['BAD_VALUE package.version']);
  }
});

const described = (description: string): unknown => ({ ...valid, package: { ...valid.package, description } });

test('texts shown on a terminal contain no control characters', () => {
  assert.deepEqual(problemsOf(described('two\nlines\tand a tab')), []);
  assert.deepEqual(problemsOf(described('\u001b[2J')), ['BAD_VALUE package.description']);
});

test('names in a manifest hold no control characters and no invisible ones', () => {
  const workflow = sampleWorkflow('w');
  const task = sampleTask('a');
  const withWorkflow = (change: object): unknown => ({ ...valid, workflows: [{ ...workflow, ...change }] });
  const withPackage = (change: object): unknown => ({ ...valid, package: { ...valid.package, ...change } });
  const withPermissions = (change: object): unknown => ({ ...valid, permissions: { ...valid.permissions, ...change } });
  for (const bad of ['\u0000', '\u001b', '\u009b', '\u202e', '\u2067', '\u061c', '\u2028', '\u2029', '\ufeff']) {
    const name = `a${bad}b`;
    const found = {
      'a task': problemsOf(withWorkflow({ output: null, tasks: [{ ...task, name }] })),
      'an alias': problemsOf(
        withWorkflow({
          output: null,
          tasks: [task, { ...sampleTask('b'), needs: { [name]: { task: 'a', settled: false } } }],
        }),
      ),
      'a queue': problemsOf(withWorkflow({ output: null, tasks: [{ ...task, queue: name }] })),
      'an author': problemsOf(withPackage({ authors: [name] })),
      'a license': problemsOf(withPackage({ license: name })),
      'a description': problemsOf(withPackage({ description: name })),
      'the description of a workflow': problemsOf(withWorkflow({ description: name })),
      'a host': problemsOf(withPermissions({ net: [name] })),
      'an environment name': problemsOf(withPermissions({ env: [name] })),
    };
    for (const [what, problems] of Object.entries(found)) {
      assert.ok(problems.length > 0, `${what} with ${JSON.stringify(bad)}: ${problems.join()}`);
      assert.match(problems[0]!, /^BAD_VALUE /, what);
    }
  }
  assert.deepEqual(problemsOf(withPermissions({ env: ['A'.repeat(200)] })), []);
  assert.deepEqual(problemsOf(withPermissions({ env: ['A'.repeat(201)] })), ['BAD_VALUE permissions.env[0]']);
});

test('prose keeps tabs and line ends, and the joiners that words and emoji are written with', () => {
  const joined = 'می\u200cخواهم \u{1f469}\u200d\u{1f4bb}';
  assert.deepEqual(problemsOf(described(`two\r\nlines\tand ${joined}`)), []);
  assert.deepEqual(problemsOf({ ...valid, package: { ...valid.package, authors: [joined] } }), []);
  assert.deepEqual(problemsOf({ ...valid, package: { ...valid.package, authors: ['two\nlines'] } }), [
    'BAD_VALUE package.authors[0]',
  ]);
});

test('registry.md: another format version is reported before anything else is checked', () => {
  const other = { formatVersion: 2, whatever: true };
  assert.throws(() => parseManifest(JSON.stringify(other)), { code: 'FORMAT_UNSUPPORTED', path: 'formatVersion' });
  assert.deepEqual(problemsOf({ ...valid, formatVersion: undefined }), ['MISSING_KEY formatVersion']);
});

test('a text that is not JSON, or nested without end, is refused', () => {
  for (const text of ['', '{', 'null', '[]', '\ufeff{}', `${'['.repeat(100_000)}${']'.repeat(100_000)}`]) {
    assert.throws(() => parseManifest(text), { code: 'MANIFEST_INVALID' });
  }
  const brackets = { ...valid, package: { ...valid.package, description: '['.repeat(500) } };
  assert.deepEqual(problemsOf(brackets), []);
});

/** A JSON text of `count` parts between a beginning and an end. */
function repeated(begin: string, part: (at: number) => string, count: number, end: string): string {
  return begin + Array.from({ length: count }, (_, at) => part(at)).join(',') + end;
}

const manifestWith = (key: string, text: string): string =>
  JSON.stringify({ ...valid, [key]: '@' }).replace('"@"', () => text);
const badWorkflow = JSON.stringify({ ...sampleWorkflow('w'), tasks: '@' });

test('a manifest made to use memory is refused quickly, with few problems', () => {
  const { workflows: _, ...rest } = valid;
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      'a million workflows',
      manifestWith(
        'workflows',
        repeated('[', () => '{"x":1}', 1_000_000, ']'),
      ),
      /^TOO_MANY $/,
    ],
    [
      '5,001 workflows',
      manifestWith(
        'workflows',
        repeated('[', () => '{"x":1}', 5001, ']'),
      ),
      /^TOO_MANY workflows$/,
    ],
    [
      '5,000 bad ones',
      manifestWith(
        'workflows',
        repeated('[', () => '{"x":1}', 5000, ']'),
      ),
      /^MISSING_KEY workflows/,
    ],
    [
      'a million lists',
      manifestWith(
        'workflows',
        repeated('[', () => '[]', 1_000_000, ']'),
      ),
      /^TOO_MANY $/,
    ],
    [
      'a million keys',
      manifestWith(
        'permissions',
        repeated('{', (at) => `"k${at}":1`, 499_000, '}'),
      ),
      /permissions/,
    ],
    [
      '10,001 tasks',
      manifestWith(
        'workflows',
        `[${badWorkflow.replace(
          '"@"',
          repeated('[', () => '1', 10_001, ']'),
        )}]`,
      ),
      /^TOO_MANY/,
    ],
    [
      '10,000 bad tasks',
      manifestWith(
        'workflows',
        `[${badWorkflow.replace(
          '"@"',
          repeated('[', () => '{"x":1}', 10_000, ']'),
        )}]`,
      ),
      /tasks/,
    ],
    [
      '10,000 files',
      manifestWith(
        'files',
        repeated('{', (at) => `"code/${at}":1`, 10_000, '}'),
      ),
      /^TOO_MANY files$/,
    ],
    ['a long text', `${JSON.stringify(rest)}${' '.repeat(16 * 1024 * 1024)}`, /^TOO_LARGE/],
  ];
  for (const [what, text, first] of cases) {
    const begun = process.cpuUsage(); // CPU time of this process, because the host may be busy
    assert.throws(
      () => parseManifest(text),
      (error) => {
        assert(error instanceof PackageInvalidError);
        assert.match(`${error.problems[0]!.code} ${error.problems[0]!.path}`, first, what);
        assert(error.problems.length <= 101 && error.message.length < 100_000, what);
        return true;
      },
    );
    const ms = process.cpuUsage(begun).user / 1000;
    assert(ms < 4000, `${what}: ${ms} ms`);
  }
});

test('lists over a limit are named', () => {
  const workflow = sampleWorkflow('w');
  const [first] = workflow.tasks;
  const schedules = Array.from({ length: 1001 }, () => ({}));
  assert.deepEqual(problemsOf({ ...valid, workflows: [{ ...workflow, schedules }] }), ['TOO_MANY workflows']);
  const needs = Object.fromEntries(Array.from({ length: 25_001 }, (_, at) => [`n${at}`, 1]));
  const tasks = [
    { ...first!, needs },
    { ...first!, needs },
  ];
  assert.deepEqual(problemsOf({ ...valid, workflows: [{ ...workflow, tasks }] }), ['TOO_MANY workflows']);
  const authors = Array.from({ length: 101 }, () => 'a');
  assert.deepEqual(problemsOf({ ...valid, package: { ...valid.package, authors } }), ['TOO_MANY package.authors']);
  const env = Array.from({ length: 1001 }, () => 'a');
  assert.deepEqual(problemsOf({ ...valid, permissions: { ...valid.permissions, env } }), ['TOO_MANY permissions.env']);
});

test('needs of missing tasks are refused, whatever their number', () => {
  const workflow = sampleWorkflow('w');
  const [first] = workflow.tasks;
  const needs = Object.fromEntries(
    Array.from({ length: 49_000 }, (_, at) => [`n${at}`, { task: 'x', settled: false }]),
  );
  assert.equal(problemsOf({ ...valid, workflows: [{ ...workflow, tasks: [{ ...first!, needs }] }] }).length, 101);
});

test('long texts are refused and not repeated in the message', () => {
  const long = 'x'.repeat(100_000);
  for (const manifest of [
    described(long),
    withTask({ description: long }),
    withTask({ name: long }),
    withTask({ needs: { [long]: { task: 'collect', settled: false } } }),
    { ...valid, [long]: 1 },
    { ...valid, files: { ...valid.files, [`code/${long}`]: hash } },
  ]) {
    assert.throws(
      () => parseManifest(JSON.stringify(manifest)),
      (error) => error instanceof PackageInvalidError && error.message.length < 5000,
    );
  }
  assert.deepEqual(problemsOf(described('x'.repeat(10_000))), []);
});

test('of a thousand problems the first hundred are listed', () => {
  const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`key${i}`, 1]));
  const problems = problemsOf({ ...valid, ...many });
  assert.equal(problems.length, 101);
  assert.equal(problems.at(-1), 'MORE ');
});

const oneToThree = { oldest: 1, newest: 3 };
const wanting = (cloacina: string, node: string): Manifest => ({ ...valid, engine: { cloacina, node } });

test('registry.md: a package runs only on the versions it asks for', () => {
  checkEngine(wanting('^0.1.0', '>=24.15'), { cloacina: '0.1.7', node: '24.21.0', guestApi: oneToThree });
  checkEngine(wanting('^0.1.0', '>=24.15'), {
    cloacina: '0.1.7',
    node: '26.0.0-nightly20260101',
    guestApi: oneToThree,
  });
  checkEngine(wanting('*', '>=24'), runningEngine());
  const refusal = {
    code: 'ENGINE_UNSUPPORTED',
    path: 'engine.cloacina',
    reason: 'it needs cloacina ^2, and this is 0.1.7',
  };
  assert.throws(
    () => checkEngine(wanting('^2', '*'), { cloacina: '0.1.7', node: '24.21.0', guestApi: oneToThree }),
    refusal,
  );
  assert.throws(() => checkEngine(wanting('*', '>=26'), { cloacina: '0.1.7', node: '24.21.0', guestApi: oneToThree }), {
    path: 'engine.node',
  });
});

test('a package runs on every later version, unless its author gave a range that excludes it', () => {
  const later = ['0.1.1', '0.2.0', '1.0.0', '1.0.0-rc.1', '12.3.4'];
  for (const cloacina of later) {
    const running = { ...runningEngine(), cloacina };
    checkEngine({ ...valid, engine: defaultEngine() }, running);
    // the default range of packages older than the versioned guest interface
    checkEngine(wanting('^0.1.0', '>=24.15'), running);
  }
  const explicit = { ...valid, engine: { ...defaultEngine(), cloacina: '^0.1.0' } };
  assert.throws(() => checkEngine(explicit, { ...runningEngine(), cloacina: '0.2.0' }), {
    code: 'ENGINE_UNSUPPORTED',
    message: 'package sample v1.0.0 does not run here: it needs cloacina ^0.1.0, and this is 0.2.0',
  });
});

test('a package runs if its guest interface is served: the current one and every older one', () => {
  const running = { ...runningEngine(), cloacina: '0.2.0', guestApi: oneToThree };
  const packedFor = (guestApi: number): Manifest => ({ ...valid, engine: { ...defaultEngine(), guestApi } });
  for (const guestApi of [1, 2, 3]) checkEngine(packedFor(guestApi), running);
  assert.throws(() => checkEngine(packedFor(4), running), {
    code: 'ENGINE_UNSUPPORTED',
    path: 'engine.guestApi',
    reason: 'it needs version 4 of the guest interface, and cloacina 0.2.0 serves versions 1 to 3',
  });
  assert.deepEqual(problemsOf(packedFor(0)), ['BAD_VALUE engine.guestApi']);
});

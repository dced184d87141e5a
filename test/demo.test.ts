// The demo as users run it: in a separate process, in a separate folder.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client } from '../src/open.ts';

const cloacina = fileURLToPath(new URL('../bin/cloacina.js', import.meta.url));
const folder = await realpath(await mkdtemp(join(tmpdir(), 'cloacina-demo-')));
after(() => rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 }));

interface Ran {
  readonly exitCode: number | null;
  readonly lines: readonly string[];
  readonly text: string;
  readonly errors: string;
}

/** Runs the demo; Ctrl-C is sent when a line matches `interruptAt`. */
async function demo(args: readonly string[], interruptAt?: RegExp): Promise<Ran> {
  const child = spawn(process.execPath, [cloacina, 'demo', ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line.trim());
    if (interruptAt?.test(line)) child.kill('SIGINT');
  }
  return { exitCode: await ended, lines, text: lines.join('\n'), errors };
}

/** Every pattern is found, in this order. */
function assertInOrder(text: string, patterns: readonly RegExp[]): void {
  let from = 0;
  for (const pattern of patterns) {
    const match = pattern.exec(text.slice(from));
    assert.ok(match !== null, `${pattern} is not there, or not in its place:\n${text}`);
    from += match.index + match[0].length;
  }
}

const id = '[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}';
const scheduled = new RegExp(`^\\d\\d:\\d\\d:\\d\\d  ${id}  completed in `);

test('the demo runs from package sources to schedule statistics', async () => {
  const { exitCode, lines, text, errors } = await demo(['--for', '3s', '--every', '2s']);
  assert.equal(errors, '');
  assert.equal(exitCode, 0);
  assertInOrder(text, [
    /package built: simple_demo v1\.0\.0, \d+ bytes, in /,
    /storage directory: .*packages/,
    new RegExp(`registered: simple_demo v1\\.0\\.0, id ${id}`),
    /data_processing \(simple_demo v1\.0\.0\): collect_data -> process_data -> generate_report/,
    /runner started in /,
    /package loaded: simple_demo v1\.0\.0 in \d+/,
    new RegExp(`execution ${id}`),
    /collected 1000 records/,
    /processed 950 valid, 50 rejected/,
    /report generated/,
    /EUR 261022\.41 in 451 orders/,
    /status completed/,
    /schedule registered: \*\/2 \* \* \* \* \* UTC/,
    new RegExp(`id ${id}`),
    /Scheduled executions for 3\.0 s/,
    /schedule demo-report paused/,
    /Statistics of the last hour/,
    /total \d+, successful \d+, failed 0, success rate 100\.0 %/,
    /database: .*demo\.db/,
    /packages: .*packages/,
  ]);
  const shown = lines.filter((line) => scheduled.test(line)).length;
  assert.ok(shown >= 1 && shown <= 2, `${shown} executions in 3 s, one every 2 s`);
  assert.match(text, new RegExp(`total ${shown}, successful ${shown}, `));
  const database = join(folder, '.cloacina-demo', 'demo.db');
  assert.ok(lines.includes(`database: ${database}`));
  assert.ok((await stat(database)).isFile());
});

test('a second run of the demo continues with the same database', async () => {
  const { exitCode, lines, text, errors } = await demo(['--for', '2s', '--every', '1s']);
  assert.equal(errors, '');
  assert.equal(exitCode, 0);
  assertInOrder(text, [
    /Package already exists: simple_demo v1\.0\.0 - continuing with existing package/,
    /processed 950 valid, 50 rejected/,
    /schedule exists, resumed: \* \* \* \* \* \* UTC/,
    /failed 0, success rate 100\.0 %/,
  ]);
  const shown = lines.filter((line) => scheduled.test(line)).length;
  assert.ok(shown >= 1 && shown <= 3, `${shown} executions in 2 s, one every second`);
  // those of the first run count too
  const total = Number(/total (\d+)/.exec(text)?.[1]);
  assert.ok(total > shown);
});

const noSignals = process.platform === 'win32' ? 'a process on Windows cannot be sent Ctrl-C by another' : false;

test('Ctrl-C ends the demo cleanly, and --json prints one event a line', { skip: noSignals }, async () => {
  const { exitCode, lines, errors } = await demo(['--json', '--for', '1h', '--every', '1s'], /"event":"execution"/);
  assert.equal(errors, '');
  assert.equal(exitCode, 0);
  const events = lines.map((line) => JSON.parse(line) as { readonly event: string; readonly at: string });
  const names = events.map(({ event }) => event);
  assert.deepEqual(names.slice(0, 8), [
    'built',
    'storage',
    'exists',
    'workflows',
    'runner',
    'loaded',
    'started',
    'executed',
  ]);
  assert.equal(names[8], 'schedule');
  assert.deepEqual(names.slice(-3), ['paused', 'statistics', 'stopped']);
  assert.ok(names.slice(9, -3).every((name) => name === 'execution'));
  for (const { at } of events) assert.equal(new Date(at).toISOString(), at);
  await assertNothingLeft();
});

/** Nothing fires after the demo, and no execution waits for an ended runner. */
async function assertNothingLeft(): Promise<void> {
  await using client = await Client.open(`sqlite:${join(folder, '.cloacina-demo', 'demo.db')}`);
  assert.equal((await client.schedules.get('demo-report')).paused, true);
  const { items } = await client.executions.list({ workflow: 'data_processing' });
  assert.deepEqual(new Set(items.map(({ status }) => status)), new Set(['completed']));
}

test('an interval that no schedule can keep is refused before the demo starts', async () => {
  const { exitCode, lines, errors } = await demo(['--every', '1ms']);
  assert.notEqual(exitCode, 0);
  assert.deepEqual(lines, []);
  assert.match(errors, /SCHEDULE_INVALID.*1 ms/);
});

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Json } from '../src/core/json.ts';
import type { ScheduleSpec, WorkflowSpec } from '../src/core/definition/spec.ts';
import { Client } from '../src/open.ts';
import { packArchive } from '../src/package/archive/archive.ts';
import { sampleManifest, sampleWorkflow } from '../src/testing/sample-package.ts';

interface Place {
  readonly client: Client;
  readonly folder: string;
  readonly register: (workflow: Partial<WorkflowSpec>) => Promise<unknown>;
}

async function place(t: TestContext): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-hostile-'));
  const client = await Client.open(`sqlite:${join(folder, 'app.db')}`, {
    registry: pathToFileURL(join(folder, 'packages')).href,
  });
  t.after(async () => {
    await client.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const register = async (workflow: Partial<WorkflowSpec>): Promise<unknown> => {
    const manifest = { ...sampleManifest(), workflows: [{ ...sampleWorkflow('w'), ...workflow }] };
    const { bytes } = await packArchive(manifest, new Map([['code/index.mjs', Buffer.from('export {};\n')]]));
    return client.registry.register(bytes);
  };
  return { client, folder, register };
}

function scheduled(input: Json): ScheduleSpec {
  const kept = { startAt: null, endAt: null, jitter: 0, overlap: 'skip', catchup: 'latest', max: 10 } as const;
  const rule = { ...kept, cron: '0 2 * * *', every: null, at: null, timezone: 'UTC', window: 60_000 };
  return { ...rule, name: 'nightly', input, paused: false };
}

/** A match against 41 characters takes longer than a lifetime. */
/** The lookahead leaves the decision to the schema's own code. */
const backtracking = { type: 'string', pattern: '^(?=([a-z]+)*$)' };
const judgedBacktracking = { type: 'string', pattern: '^([a-z]+)*$' };
const asked = `${'a'.repeat(40)}!`;

function doubledReferences(): Json {
  const refs = Array.from({ length: 30 }, (_, i) => ({ $ref: `#/$defs/d${i + 1}` }));
  const $defs = Object.fromEntries(refs.map((ref, i) => [`d${i}`, { anyOf: [ref, ref] }]));
  return { $defs: { ...$defs, d30: { type: 'number' } }, $ref: '#/$defs/d0' };
}

for (const [what, input] of [
  ['a pattern with catastrophic backtracking', backtracking],
  ['30 doubled references', doubledReferences()],
  ['a reference to itself', { $ref: '#' }],
] as const) {
  test(`a packaged workflow whose input has ${what} delays no start, no schedule and no registration`, async (t) => {
    const { client, register } = await place(t);
    const begun = performance.now();
    await register({ input, schedules: [scheduled(asked)] });
    const { id } = await client.start('w', asked);
    await client.startMany('w', [asked, asked]);
    await client.schedules.add('mine', { workflow: 'w', cron: '@daily', input: asked });
    assert.equal((await client.executions.get(id)).status, 'pending');
    assert.deepEqual((await client.schedules.list()).map(({ name }) => name).toSorted(), ['mine', 'nightly']);
    assert.ok(performance.now() - begun < 10_000);
  });
}

test('a hostile pattern in the schema of a signal does not delay its senders', async (t) => {
  const { client, register } = await place(t);
  const { tasks } = sampleWorkflow('w');
  const wait = { signal: 'go', schema: backtracking, timeout: null };
  await register({ tasks: [...tasks, { ...tasks[0]!, name: 'wait', kind: 'wait', timeout: null, retry: null, wait }] });
  const { id } = await client.start('w');
  assert.equal((await client.signal(id, 'go', asked)).id, id);
  await assert.rejects(client.signal(id, 'go', 5), { code: 'SIGNAL_INVALID' });
});

test('an input that does not match a pattern with catastrophic backtracking is refused at once', async (t) => {
  const { client, register } = await place(t);
  await register({ input: judgedBacktracking });
  await assert.rejects(client.start('w', asked), { code: 'INPUT_INVALID', message: /must match the pattern/ });
  assert.equal((await client.executions.get((await client.start('w', 'aaa')).id)).status, 'pending');
});

test('a package whose schedule could start nothing is refused before its bytes are stored', async (t) => {
  const { client, folder, register } = await place(t);
  const input = { type: 'object', required: ['url'] };
  await assert.rejects(register({ input, schedules: [scheduled({})] }), {
    code: 'INPUT_INVALID',
    message: /input.url: it is missing \(in schedule 'nightly'\)/,
  });
  assert.deepEqual(await client.registry.list(), []);
  assert.ok(!readdirSync(folder).includes('packages'), 'nothing was stored');
  await register({ input, schedules: [scheduled({ url: 'u' })] });
});

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { after, describe, it } from 'node:test';
import { Runner, unchecked, workflow } from '../src/index.ts';
import type { RunnerOptions } from '../src/index.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { samplePackage } from '../src/testing/sample-package.ts';

/** A text of three bytes a character, which no compression makes shorter. */
function random(bytes: number): string {
  const count = Math.floor(bytes / 3);
  const text = Array.from({ length: count }, () =>
    String.fromCharCode(0x4e00 + Math.floor(Math.random() * 20_000)),
  ).join('');
  return text + 'x'.repeat(bytes - 3 * count);
}

/** 200 characters: the longest names of a definition. */
const longName = random(600);
const queue = random(600);
const named = 'w'.repeat(200);
const w = workflow(named, {
  input: unchecked<{ step?: string; key?: string }>(),
  concurrency: { limit: 1, key: 'key' },
});
const task = w.task(longName, { queue, retry: { attempts: 1 } }, async ({ input, step }) =>
  input.step === undefined ? 1 : step(input.step, () => 1),
);
const done = w.returns(task);

const server = await testPostgres();
if (typeof server !== 'string') after(() => server.stop());
let schemas = 0;

for (const database of ['SQLite', 'PostgreSQL'] as const) {
  const skip = database === 'PostgreSQL' && typeof server === 'string' ? server : false;
  describe(`interfaces.md: texts of the longest length that is allowed, on ${database}`, { skip }, () => {
    async function open(t: Cleanup, options: RunnerOptions = {}): Promise<Runner> {
      const folder = tempFolder(t);
      const url =
        database === 'SQLite' || typeof server === 'string'
          ? `sqlite:${join(folder, 'app.db')}`
          : `${server.url}?schema=long_${process.pid}_${schemas++}`;
      const registry = pathToFileURL(join(folder, 'packages')).href;
      const runner = await Runner.open(url, { workflows: [done], queues: [queue], registry, ...options });
      release(t, () => runner.close({ drain: 0 }));
      return runner;
    }

    it('all that share an index fit into it together: tenant, workflow, key; tenant, tag; task, step; queue, build', async (t) => {
      // control characters are long in JSON
      for (const tenant of [random(200), '\u0001'.repeat(200)]) {
        const runner = await open(t, { tenant });
        const options = { idempotencyKey: random(1000), tags: { [random(1000)]: random(1000), [random(1000)]: 'x' } };
        for (const key of [random(594), random(60_000)]) {
          const input = { step: random(1000), key };
          assert.equal((await (await runner.start(done, input, options)).result()).output, 1);
          assert.equal((await runner.execute(done, input, { tags: options.tags })).output, 1);
          options.idempotencyKey = random(1000);
        }
        const [first] = await runner.startMany(done, [{}], { tags: options.tags });
        assert.equal((await first!.result()).output, 1);
        assert.equal((await runner.executions.list({ tags: options.tags })).items.length, 5);
        const schedule = await runner.schedules.add(random(600), { workflow: named, every: '1h' });
        assert.equal(schedule.created, true);
        const { bytes } = await samplePackage('', `@${'s'.repeat(100)}/${'p'.repeat(112)}`, `1.0.0-${'v'.repeat(249)}`);
        const { name, version } = await runner.registry.register(bytes, { activate: false });
        await runner.registry.activate(name, version, { channel: 'c'.repeat(100) });
      }
    });

    it('a byte more is OPTION_INVALID, with the limit, and stores nothing', async (t) => {
      const runner = await open(t);
      const refused = (option: string, bytes: number) => (error: unknown) => {
        assert.deepEqual(
          [Reflect.get(error as Error, 'code'), Reflect.get(error as Error, 'option')],
          ['OPTION_INVALID', option],
        );
        assert.match(String(error), new RegExp(`1 to ${bytes} bytes`));
        return true;
      };
      const long = random(1001);
      await assert.rejects(open(t, { tenant: random(201) }), refused('tenant', 200));
      await assert.rejects(runner.start(done, {}, { idempotencyKey: long }), refused('idempotencyKey', 1000));
      for (const tags of [{ [long]: 'x' }, { x: long }])
        for (const start of [() => runner.start(done, {}, { tags }), () => runner.startMany(done, [{}], { tags })])
          await assert.rejects(start, refused('tags', 1000));
      const outcome = await (await runner.start(done, { step: long })).outcome();
      assert.ok(outcome.status === 'failed' && outcome.error !== null);
      assert.equal(outcome.error.code, 'OPTION_INVALID');
      assert.equal((await runner.executions.list()).items.length, 1);
    });
  });
}

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { Runner, workflow } from '../index.ts';
import type { Logger, RunnerOptions } from '../index.ts';
import { keepingLogger, openRig, release } from '../testing/engine-rig.ts';
import type { Cleanup, Logged } from '../testing/engine-rig.ts';

/** The webhook of a user that is down. */
async function down(): Promise<void> {
  await Promise.resolve();
  throw new Error('webhook answered 500');
}

async function runnerWith(t: Cleanup, options: RunnerOptions): Promise<{ runner: Runner; logged: Logged[] }> {
  const logged: Logged[] = [];
  const runner = await Runner.open('sqlite::memory:', { logger: keepingLogger(logged), ...options });
  release(t, () => runner.close({ drain: 0 }));
  return { runner, logged };
}

const reports = workflow('reports');
const reported = reports.returns(
  reports.task('t', ({ progress }) => {
    progress(0.5, 'half');
    return 1;
  }),
);

describe('interfaces.md, Options of open: the rejection of a hook reaches neither the journal nor the process', () => {
  for (const hook of ['onEvent', 'onProgress'] as const) {
    it(`the runner logs a rejection of ${hook} and goes on`, async (t) => {
      const { runner, logged } = await runnerWith(t, { workflows: [reported], [hook]: down });
      assert.equal((await runner.execute(reported)).output, 1);
      const line = logged.find(({ message }) => message === `the hook ${hook} threw an error`);
      assert.equal(line?.level, 'error');
      assert.equal(Reflect.get(Reflect.get(line?.details ?? {}, 'error') as object, 'message'), 'webhook answered 500');
    });
  }

  it('a logger whose methods reject costs nothing', async (t) => {
    const logger = { debug: down, info: down, warn: down, error: down } as unknown as Logger;
    const { runner } = await runnerWith(t, { workflows: [reported], logger, onEvent: down, onProgress: down });
    assert.equal((await runner.execute(reported)).output, 1);
  });

  it('a hook that returns a hostile thenable costs nothing', async (t) => {
    const get = (): never => {
      throw new Error('no');
    };
    const hostile = new Proxy({}, { get });
    const { runner, logged } = await runnerWith(t, {
      workflows: [reported],
      onEvent: () => hostile,
    });
    assert.equal((await runner.execute(reported)).output, 1);
    assert.ok(logged.some(({ message }) => message === 'the hook onEvent threw an error'));
  });
});

describe('engine.md, attempts: retry.when decides, at once or by a promise', () => {
  async function attemptsWith(t: Cleanup, when: (error: unknown) => boolean | Promise<boolean>): Promise<number> {
    let attempts = 0;
    const w = workflow('w');
    const done = w.returns(
      w.task('t', { retry: { attempts: 3, delay: 0, when } }, () => {
        attempts++;
        throw new Error('not worth a retry');
      }),
    );
    const { client } = await openRig(t, { workflows: [done] });
    const outcome = await (await client.start(done)).outcome();
    assert.equal(outcome.status === 'failed' && outcome.error?.message, 'not worth a retry');
    return attempts;
  }

  it('a promise of false ends the task', async (t) => {
    assert.equal(await attemptsWith(t, () => Promise.resolve(false)), 1);
  });

  it('a rejection ends the task, as an exception does', async (t) => {
    const asked = async (): Promise<boolean> => {
      await down();
      return true;
    };
    assert.equal(await attemptsWith(t, asked), 1);
  });

  it('a promise of true allows another attempt', async (t) => {
    let asked = 0;
    assert.equal(await attemptsWith(t, () => Promise.resolve(++asked < 2)), 2);
  });
});

describe("durability.md, the caller's transaction: a schema that answers later is refused there", () => {
  it('its rejection does not go unhandled', async (t) => {
    const schema: StandardSchemaV1<unknown, unknown> = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: async () => {
          await down();
          return { value: 1 };
        },
      },
    };
    const w = workflow('checked', { input: schema });
    const done = w.returns(w.task('t', () => 1));
    const { runner } = await runnerWith(t, { workflows: [done] });
    await assert.rejects(
      runner.transaction((_, start) => start(done, {}).id),
      { code: 'TRANSACTION_ASYNC' },
    );
  });
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Runner, workflow } from '../index.ts';
import { release } from '../testing/engine-rig.ts';

describe('a logger that throws', () => {
  it('the execution and its runner continue', async (t) => {
    const broken = (): never => {
      throw new Error('the stream is closed');
    };
    const w = workflow('w');
    const a = w.wait('a', { signal: 'go', schema: never });
    const done = w.returns(a);
    const logger = { debug: broken, info: broken, warn: broken, error: broken };
    const runner = await Runner.open('sqlite::memory:', { workflows: [done], logger });
    release(t, () => runner.close({ drain: 0 }));
    const handle = await runner.start(done);
    // the invalid signal is logged in code that no caller awaits
    await runner.signal(handle.id, 'go', 1);
    await runner.signal(handle.id, 'go', 2);
    assert.equal((await handle.result()).output, 2);
  });
});

/** A schema that accepts 2 only, which no JSON Schema expresses. */
const never = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value: unknown) => (value === 2 ? { value: 2 } : { issues: [{ message: 'no' }] }),
    types: undefined as { input: unknown; output: number } | undefined,
  },
} as const;

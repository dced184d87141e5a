import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AnyWorkflow } from '../core/definition/definition.ts';
import { workflow } from '../core/definition/workflow.ts';
import { ManualClock } from '../testing/clock.ts';
import { openRig, openStores } from '../testing/engine-rig.ts';
import { openRunners } from '../testing/helping-rig.ts';

describe('engine.md: named queues', () => {
  it('a task with a queue runs only on runners that serve it; until one opens it is pending, and says so', async (t) => {
    const ran: string[] = [];
    const build = (who: string): AnyWorkflow[] => {
      const w = workflow('w');
      const a = w.task('a', () => void ran.push(`a on ${who}`));
      const b = w.task('b', { queue: 'gpu', needs: { a } }, () => void ran.push(`b on ${who}`));
      w.task('c', { needs: { b } }, () => void ran.push(`c on ${who}`));
      return [w];
    };
    const { clock, rigs, spare } = await openRunners(t, build, { owner: {}, other: {} });
    const { client } = rigs[0]!;
    const handle = await client.start('w');
    await clock.advance(60_000);
    assert.deepEqual(ran, ['a on owner']);
    const { status, tasks } = await client.executions.get(handle.id);
    assert.deepEqual(
      [status, tasks.map(({ name, status: word, queue }) => [name, word, queue])],
      [
        'running',
        [
          ['a', 'completed', null],
          ['b', 'pending', 'gpu'],
        ],
      ],
    );
    const warnings = rigs[0]!.logged.filter(({ level }) => level === 'warn');
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!.message, /serves the queue 'gpu'/);
    await openRig(t, { workflows: build('gpu'), store: spare, clock, queues: ['gpu'] });
    await clock.advance(2000);
    assert.equal((await handle.outcome()).status, 'completed');
    assert.deepEqual(ran, ['a on owner', 'b on gpu', 'c on owner']);
  });

  it('a runner ignores executions without a task for it, even its own starts, and may own mixed ones', async (t) => {
    const ran: string[] = [];
    const build = (who: string): AnyWorkflow[] => {
      const plain = workflow('plain');
      plain.task('a', () => void ran.push(`plain on ${who}`));
      const mixed = workflow('mixed');
      const a = mixed.task('a', { queue: 'gpu' }, () => void ran.push(`mixed a on ${who}`));
      mixed.task('b', { needs: { a } }, () => void ran.push(`mixed b on ${who}`));
      return [plain, mixed];
    };
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const gpu = await openRig(t, { workflows: build('gpu'), store: one!, clock, queues: ['gpu'] });
    const plain = await gpu.client.start('plain');
    const mixed = await gpu.client.start('mixed');
    await clock.advance(5000);
    assert.equal((await gpu.client.executions.get(plain.id)).status, 'pending');
    assert.deepEqual(ran, ['mixed a on gpu']);
    assert.ok(gpu.logged.some(({ message }) => message.includes("serves the queue 'default'")));
    await openRig(t, { workflows: build('plain'), store: two!, clock });
    await clock.advance(5000);
    assert.equal((await plain.outcome()).status, 'completed');
    assert.equal((await mixed.outcome()).status, 'completed');
    assert.deepEqual(ran.toSorted(), ['mixed a on gpu', 'mixed b on plain', 'plain on plain']);
  });
});

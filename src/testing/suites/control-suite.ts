import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TaskSpec } from '../../core/definition/spec.ts';
import { sampleWorkflow } from '../sample-package.ts';
import { sampleExecution, sampleRelease, sampleTaskState, sampleTransition } from '../samples.ts';
import type { StorePlace } from '../store-place.ts';

/** Effects of cancel and retry on an execution without an owner, for every database. */
export function controlSuite(place: StorePlace): void {
  const { commit, owned, claim } = place;

  /**
   * An execution that its runner released, with three maps: two that are half written, and one whose own row makes its
   * items count.
   */
  async function halfWritten(letGo: Parameters<typeof sampleRelease>[0]): Promise<string> {
    const names = ['new', 'again', 'whole'];
    const [task] = sampleWorkflow('w').tasks;
    const tasks = names.map((name): TaskSpec => ({ ...task!, name, kind: 'map' }));
    await place.store.writeDefinitions([
      { workflow: 'w', buildId: 'embedded/w/1', spec: { ...sampleWorkflow('w'), tasks } },
    ]);
    const id = await owned();
    const item = { status: 'pending', attempt: 0, startedAt: null, value: '1' } as const;
    await commit(
      'r1',
      sampleTransition(id, {
        tasks: [
          ...names.flatMap((name) => [0, 1].map((n) => sampleTaskState(name, { ...item, item: n }))),
          sampleTaskState('again', { status: 'pending' }),
          sampleTaskState('whole'),
        ],
        release: sampleRelease({ endedAt: null, output: null, ...letGo }),
      }),
    );
    return id;
  }
  const itemsOf = async (id: string): Promise<Record<string, number>> => {
    const items = (await place.store.tasks(id)).filter(({ item }) => item >= 0);
    return Object.fromEntries(
      Map.groupBy(items, ({ task }) => task)
        .entries()
        .map(([task, rows]) => [task, rows.length]),
    );
  };
  const retry = { tenant: 'default', buildId: 'embedded/w/1', reset: [], gone: [], repin: null };

  describe('durability.md, Wide maps: items count once the row of their map is durable', () => {
    it('a cancel without an owner removes items that do not count, and a retry begins their maps anew', async () => {
      const id = await halfWritten({ status: 'pending' });
      assert.deepEqual(await place.store.cancel(id, 'default'), { status: 'applied', as: 'cancelled' });
      assert.deepEqual(await itemsOf(id), { whole: 2 });
      await place.store.retry({ ...retry, id });
      const maps = (await place.store.tasks(id)).filter(({ item }) => item === -1);
      assert.deepEqual(Object.fromEntries(maps.map(({ task, status }) => [task, status])), {
        again: 'pending',
        new: 'pending',
        whole: 'running',
      });
    });

    it('a cancel of the parent does the same', async () => {
      const id = await halfWritten({ status: 'pending' });
      const parent = sampleExecution();
      await place.store.createExecutions([parent]);
      await place.store.write(function* () {
        yield {
          text: 'update executions set parent_id = $1, parent_task = $2 where id = $3',
          params: [parent.id, 'c', id],
        };
      });
      await place.store.cancel(parent.id, 'default');
      assert.equal((await place.store.execution(id))!.status, 'cancelled');
      assert.deepEqual(await itemsOf(id), { whole: 2 });
    });

    it('a retry of a held execution does the same, and so does another definition that continues one', async () => {
      const held = await halfWritten({ status: 'paused', reason: 'CRASH_LOOP' });
      await place.store.retry({ ...retry, id: held });
      assert.deepEqual(await itemsOf(held), { whole: 2 });
      const stray = await halfWritten({ status: 'pending' });
      await place.store.moveToBuild([stray], 'embedded/w/1', 'embedded/w/2');
      assert.deepEqual(await itemsOf(stray), { whole: 2 });
    });

    it('items that count are kept if the execution is adopted meanwhile', async () => {
      const id = await halfWritten({ status: 'pending' });
      await claim({ runner: 'r2' });
      await place.store.moveToBuild([id], 'embedded/w/1', 'embedded/w/2');
      assert.deepEqual(await itemsOf(id), { new: 2, again: 2, whole: 2 }, 'its owner knows of them');
    });
  });
}

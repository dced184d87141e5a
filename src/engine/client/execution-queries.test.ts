import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../../core/definition/workflow.ts';
import { run } from '../../store/script.ts';
import type { Store } from '../../store/store.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openClient, openOneStore, openRig, release } from '../../testing/engine-rig.ts';

/** The largest number of rows that the database was asked for at once. */
function largestQuestion(store: Store): { readonly store: Store; largest: () => number } {
  let largest = 0;
  const asked = (limit: number): void => void (largest = Math.max(largest, limit));
  const watched: Store = {
    ...store,
    events: (id, after, limit) => (asked(limit), store.events(id, after, limit)),
    logs: (id, task, skip, limit) => (asked(limit), store.logs(id, task, skip, limit)),
    logPage: (id, task, after, limit) => (asked(limit), store.logPage(id, task, after, limit)),
  };
  return { store: watched, largest: () => largest };
}

describe('interfaces.md: all events and all lines of an execution are read, however many there are', () => {
  it('events and lines come page by page without a limit, in order, and none is cut off', async (t) => {
    const clock = new ManualClock();
    const store = await openOneStore(clock);
    release(t, () => store.close());
    const w = workflow('w');
    w.task('a', ({ log }) => (log.info('line'), 1));
    const rig = await openRig(t, { workflows: [w], clock, store });
    const { id } = await rig.client.start(w);
    await clock.advance(10);
    const own = (await rig.client.executions.events(id)).length;
    const count = 25_000;
    await store.write(function* () {
      const numbers = `with recursive i(n) as (select 1 union all select n + 1 from i where n < ${count})`;
      yield* run(
        `insert into events (execution_id, seq, type, at) ${numbers} select cast($1 as text), ${own} + n, 'x', n from i`,
        id,
      );
      // the times of two tasks run against the order of their keys
      yield* run(
        `insert into logs (execution_id, task, item, attempt, n, at, level, message)
         ${numbers} select cast($1 as text), case when n % 2 = 0 then 'x' else 'y' end, -1, 1, n, ${count} - n, 'info', 'line' from i`,
        id,
      );
    });
    const { executions } = rig.client;
    const events = await executions.events(id);
    assert.deepEqual(
      events.map(({ seq }) => seq),
      Array.from({ length: own + count }, (_, i) => i + 1),
    );
    assert.equal((await executions.events(id, { after: own })).length, count);
    const lines = await executions.logs(id);
    assert.equal(lines.length, count + 1);
    assert.deepEqual(
      lines,
      await executions.logs(id, { limit: count + 1 }),
      'the order is that of the pages of a caller',
    );
    assert.deepEqual(await executions.logs(id, { skip: count }), lines.slice(count));
    assert.equal((await executions.logs(id, { task: 'x' })).length, count / 2);
    const unlimited = largestQuestion(store);
    const other = openClient(t, unlimited.store, clock).executions;
    await Promise.all([other.events(id), other.logs(id)]);
    assert.ok(unlimited.largest() <= 10_000, `${unlimited.largest()} rows at once`);
  });
});

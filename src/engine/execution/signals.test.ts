import type { StandardSchemaV1 } from '@standard-schema/spec';
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { workflow } from '../../core/definition/workflow.ts';
import type { Store } from '../../store/store.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openClient, openRig, openStores } from '../../testing/engine-rig.ts';

const approval = () => {
  const w = workflow('w');
  const a = w.task('a', () => 1);
  const ok = w.wait('ok', { needs: { a }, signal: 'approved', schema: z.object({ by: z.string() }), timeout: '3d' });
  return w.returns(w.task('b', { needs: { ok } }, ({ needs }) => needs.ok.by));
};

/** A schema without a JSON Schema: only its own code can check a value. */
const even: StandardSchemaV1<unknown, number> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) =>
      typeof value === 'number' && value % 2 === 0 ? { value: value * 10 } : { issues: [{ message: 'not even' }] },
  },
};

describe('engine.md, Wait: signals', () => {
  it('a waiting execution is released and costs a row, and a signal resumes it', async (t) => {
    const clock = new ManualClock();
    const w = approval();
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w);
    await clock.advance(1000);
    assert.equal(rig.engine.size, 0);
    assert.equal((await rig.client.executions.get(handle.id)).status, 'waiting');
    assert.deepEqual(await rig.client.signal(handle.id, 'approved', { by: 'ops' }), {
      id: handle.id,
      status: 'waiting',
    });
    await clock.settle();
    assert.equal((await handle.result()).output, 'ops');
    const types = (await rig.client.executions.events(handle.id)).map(({ type, task }) =>
      `${type} ${task ?? ''}`.trim(),
    );
    assert.deepEqual(types, [
      'execution.created',
      'task.completed a',
      'task.waiting ok',
      'execution.waiting',
      'execution.resumed',
      'signal.received',
      'task.completed ok',
      'task.completed b',
      'execution.completed',
    ]);
  });

  it('a signal before the wait is kept until a task waits for it, across a change of owner', async (t) => {
    const clock = new ManualClock();
    const stores = await openStores(t, 2, clock);
    const w = workflow('w');
    const nap = w.sleep('nap', { for: '90s' });
    const go = w.wait('go', { needs: { nap }, signal: 'go' });
    const done = w.returns(go);
    const rig = await openRig(t, { workflows: [done], store: stores[0]!, clock });
    const handle = await rig.client.start(done);
    await clock.advance(1000);
    await openClient(t, stores[1]!, clock).signal(handle.id, 'go', [1]);
    await clock.advance('60s');
    assert.equal((await stores[1]!.execution(handle.id))!.status, 'waiting');
    await clock.advance('31s');
    assert.deepEqual((await handle.result()).output, [1]);
  });

  it('two equal signals are taken by one task each, in the order of arrival', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    const one = w.wait('one', { signal: 's' });
    const two = w.wait('two', { needs: { one }, signal: 's' });
    const done = w.returns(w.task('both', { needs: { one, two } }, ({ needs }) => [needs.one, needs.two]));
    const rig = await openRig(t, { workflows: [done], clock });
    const handle = await rig.client.start(done);
    await clock.settle();
    for (const payload of [1, 2]) await rig.client.signal(handle.id, 's', payload);
    await clock.settle();
    assert.deepEqual((await handle.result()).output, [1, 2]);
    assert.deepEqual(await rig.store.inboxOf(rig.engine.id), []);
  });

  it('a signal that arrives during the release is not lost', async (t) => {
    const clock = new ManualClock();
    const [mine, other] = await openStores(t, 2, clock);
    const w = workflow('w');
    const go = w.wait('go', { signal: 'go' });
    const done = w.returns(go);
    const sender = openClient(t, other!, clock);
    let sent = false;
    const commit: Store['commit'] = async (batch) => {
      const leaving = batch.transitions.find(({ release }) => release?.status === 'waiting');
      if (leaving !== undefined && !sent) {
        sent = true;
        await sender.signal(leaving.id, 'go', 'now');
      }
      return mine!.commit(batch);
    };
    const rig = await openRig(t, { workflows: [done], store: { ...mine!, commit }, clock });
    const handle = await rig.client.start(done);
    await clock.advance(100);
    assert.ok(sent);
    assert.equal((await handle.result()).output, 'now');
  });

  it('a wait that times out fails with TASK_TIMED_OUT', async (t) => {
    const clock = new ManualClock();
    const w = approval();
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w);
    await clock.advance('3d');
    await clock.advance(1000);
    const outcome = await handle.outcome();
    assert.deepEqual(outcome.status === 'failed' && [outcome.task, outcome.error!.code], ['ok', 'TASK_TIMED_OUT']);
    const types = (await rig.client.executions.events(handle.id))
      .filter(({ task }) => task === 'ok')
      .map(({ type }) => type);
    assert.deepEqual(types, ['task.waiting', 'task.timed_out', 'task.failed']);
  });

  it('a signal that arrived before the deadline is checked, whatever time that takes', async (t) => {
    const clock = new ManualClock();
    const slow: StandardSchemaV1<unknown, number> = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: async (value) => {
          await new Promise<void>((resolve) => clock.timer(50, resolve));
          return { value: value as number };
        },
      },
    };
    const w = workflow('w');
    const done = w.returns(w.wait('n', { signal: 'n', schema: slow, timeout: '10s' }));
    const rig = await openRig(t, { workflows: [done], clock });
    const handle = await rig.client.start(done);
    await clock.advance(9970);
    await rig.client.signal(handle.id, 'n', 3);
    await clock.advance(1000);
    assert.equal((await handle.result()).output, 3);
  });

  it('a payload that does not fit is refused at once; one that only code can refuse is dropped, and the task waits on', async (t) => {
    const clock = new ManualClock();
    const w = approval();
    const judged = workflow('judged');
    const doneJudged = judged.returns(judged.wait('n', { signal: 'n', schema: even }));
    const rig = await openRig(t, { workflows: [w, doneJudged], clock });
    const handle = await rig.client.start(w);
    await clock.settle();
    await assert.rejects(rig.client.signal(handle.id, 'approved', { by: 3 }), { code: 'SIGNAL_INVALID' });
    await assert.rejects(rig.client.signal(handle.id, 'aproved', { by: 'x' }), {
      code: 'SIGNAL_UNKNOWN',
      near: ['approved'],
    });
    await assert.rejects(rig.client.signal(handle.id, 'approved', { by: () => 1 }), { code: 'NOT_SERIALIZABLE' });
    assert.equal((await rig.client.executions.get(handle.id)).status, 'waiting');
    const other = await rig.client.start(doneJudged);
    await clock.settle();
    await rig.client.signal(other.id, 'n', 3);
    await clock.settle();
    assert.equal((await rig.client.executions.get(other.id)).status, 'waiting');
    assert.ok(rig.logged.some(({ message }) => message.includes('does not fit the schema')));
    await rig.client.signal(other.id, 'n', 4);
    await clock.settle();
    assert.equal((await other.result()).output, 40);
  });

  it('a signal to an ended or unknown execution is refused', async (t) => {
    const clock = new ManualClock();
    const w = approval();
    const rig = await openRig(t, { workflows: [w], clock });
    const handle = await rig.client.start(w);
    await clock.settle();
    await rig.client.cancel(handle.id);
    await assert.rejects(rig.client.signal(handle.id, 'approved', { by: 'x' }), { code: 'EXECUTION_ENDED' });
    await assert.rejects(rig.client.signal('nobody', 'approved', {}), { code: 'EXECUTION_NOT_FOUND' });
  });

  it('an execution that waits for its startAt keeps the signal until then', async (t) => {
    const clock = new ManualClock();
    const w = workflow('w');
    const done = w.returns(w.wait('go', { signal: 'go' }));
    const rig = await openRig(t, { workflows: [done], clock });
    const handle = await rig.client.start(done, {}, { startAt: '1h' });
    await rig.client.signal(handle.id, 'go', 7);
    await clock.advance('30m');
    assert.equal((await rig.client.executions.get(handle.id)).status, 'waiting');
    await clock.advance('31m');
    assert.equal((await handle.result()).output, 7);
  });
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settled, unchecked, workflow } from '../../core/definition/workflow.ts';
import { DefinitionInvalidError, OptionInvalidError } from '../../core/error.ts';
import type { ExecutionOutcome } from '../client/client.ts';
import { ManualClock } from '../../testing/clock.ts';
import { openOneStore, openRig, release } from '../../testing/engine-rig.ts';
import type { Rig } from '../../testing/engine-rig.ts';

const minutes = (count: number): number => count * 60_000;

/** A workflow that sleeps as long as its input says; beyond two hours it has a child that sleeps for a day. */
const sleeper = (() => {
  const deep = workflow('deep');
  const slept = deep.returns(deep.sleep('night', { for: '1d' }));
  const w = workflow('sleeper', { input: unchecked<{ ms: number }>() });
  w.child('deep', slept, { when: ({ input }) => input.ms > minutes(120), input: () => ({}) });
  const nap = w.sleep('nap', { until: ({ input }) => Date.UTC(2026, 0, 1) + input.ms });
  return { slept, done: w.returns(w.task('done', { needs: { nap } }, () => 'rested')) };
})();

/** A parent that gives its child an hour. */
const parent = (() => {
  const w = workflow('parent', { input: unchecked<{ ms: number }>() });
  const kid = w.child('kid', sleeper.done, { input: ({ input }) => ({ ms: input.ms }), timeout: '1h' });
  return w.returns(kid);
})();

const workflows = [parent, sleeper.done, sleeper.slept];

async function statuses(rig: Rig<ManualClock>, name: string): Promise<readonly string[]> {
  return (await rig.client.executions.list({ workflow: name })).items.map(({ status }) => status);
}

function failureOf(outcome: ExecutionOutcome<unknown>): {
  readonly code: string | undefined;
  readonly message: string;
} {
  assert.ok(outcome.status === 'failed' && outcome.error !== null);
  return outcome.error;
}

describe('engine.md, Child: a child has no timeout unless one is given', () => {
  it('after its timeout a child is cancelled with its own children, and its task fails', async (t) => {
    const rig = await openRig(t, { workflows });
    const handle = await rig.client.start(parent, { ms: minutes(300) });
    await rig.clock.advance('30m');
    assert.equal(rig.engine.size, 0, 'the parent is released while it waits');
    assert.equal((await rig.client.executions.get(handle.id)).status, 'waiting');
    await rig.clock.advance('29m 59s');
    assert.deepEqual(await statuses(rig, 'sleeper'), ['waiting']);
    await rig.clock.advance('2s');
    const { code, message } = failureOf(await handle.outcome());
    assert.equal(code, 'TASK_TIMED_OUT');
    assert.match(message, /the child execution '.+' of task 'kid' did not end within 3600000 ms and was cancelled/);
    assert.deepEqual(await statuses(rig, 'sleeper'), ['cancelled']);
    assert.deepEqual(await statuses(rig, 'deep'), ['cancelled']);
    const events = (await rig.client.executions.events(handle.id)).filter(({ task }) => task === 'kid');
    assert.deepEqual(
      events.map(({ type }) => type),
      ['task.waiting', 'task.timed_out', 'task.failed'],
    );
    assert.deepEqual(Reflect.get(events[0]!.data as object, 'until'), '2026-01-01T01:00:00.000Z');
  });

  it('a child that ends in time gives its output, also after a near timeout was set', async (t) => {
    const w = workflow('brief', { input: unchecked<{ ms: number }>() });
    const kid = w.child('kid', sleeper.done, { input: ({ input }) => ({ ms: input.ms }), timeout: '10s' });
    const brief = w.returns(kid);
    const rig = await openRig(t, { workflows: [...workflows, brief] });
    const long = await rig.client.start(parent, { ms: minutes(59) });
    const short = await rig.client.start(brief, { ms: 9000 });
    await rig.clock.advance('1m');
    assert.equal((await short.result()).output, 'rested');
    await rig.clock.advance('2h');
    assert.equal((await long.result()).output, 'rested');
    assert.equal(rig.engine.size, 0);
  });

  it('the time runs on while no runner is there, and a child that ended meanwhile counts', async (t) => {
    const clock = new ManualClock();
    const store = await openOneStore(clock);
    release(t, () => store.close());
    const first = await openRig(t, { workflows, clock, store });
    const late = await first.client.start(parent, { ms: minutes(300) });
    await clock.advance('10m');
    await first.close();
    await clock.advance('3h');
    const second = await openRig(t, { workflows, clock, store });
    await clock.advance('10s');
    const outcome = await second.client.handle<string>(late.id).outcome();
    assert.equal(failureOf(outcome).code, 'TASK_TIMED_OUT');
    assert.deepEqual(await statuses(second, 'sleeper'), ['cancelled']);
  });

  it('an end of the child that the parent has not read yet comes before the timeout', async (t) => {
    const clock = new ManualClock();
    const store = await openOneStore(clock);
    release(t, () => store.close());
    const both = await openRig(t, { workflows, clock, store });
    const handle = await both.client.start(parent, { ms: minutes(59) });
    await clock.advance('10m');
    await both.close();
    const childOnly = await openRig(t, { workflows: [sleeper.done, sleeper.slept], clock, store });
    await clock.advance('50m');
    assert.deepEqual(await statuses(childOnly, 'sleeper'), ['completed']);
    await childOnly.close();
    await clock.advance('1h');
    const third = await openRig(t, { workflows, clock, store });
    await clock.advance('10s');
    assert.equal((await third.client.handle<string>(handle.id).result()).output, 'rested');
  });

  it('a child that never began is cancelled too, and a settled need takes the timeout', async (t) => {
    const w = workflow('outer');
    const kid = w.child('kid', 'nowhere', { input: () => ({}), timeout: '1h' });
    const after = w.task('after', { needs: { kid: settled(kid) } }, ({ needs }) => {
      return needs.kid.status === 'failed' ? (needs.kid.error.code ?? '') : needs.kid.status;
    });
    const outer = w.returns(after);
    const nowhere = workflow('nowhere', { concurrency: { limit: 1 } });
    nowhere.sleep('blocked', { for: '20s' });
    nowhere.task('x', () => new Promise<number>(() => undefined));
    const rig = await openRig(t, { workflows: [outer, nowhere] });
    await rig.client.start(nowhere);
    await rig.clock.advance('1m');
    const handle = await rig.client.start(outer);
    await rig.clock.advance('59m');
    assert.deepEqual(
      (await statuses(rig, 'nowhere')).toSorted((a, b) => a.localeCompare(b)),
      ['pending', 'running'],
    );
    await rig.clock.advance('2m');
    assert.equal((await handle.result()).output, 'TASK_TIMED_OUT');
    assert.ok((await statuses(rig, 'nowhere')).includes('cancelled'));
  });

  it('a retry of the parent starts another child, with its whole time', async (t) => {
    const rig = await openRig(t, { workflows });
    const handle = await rig.client.start(parent, { ms: minutes(90) });
    await rig.clock.advance('61m');
    assert.equal((await handle.outcome()).status, 'failed');
    await rig.client.retry(handle.id);
    await rig.clock.advance('35m');
    assert.equal((await rig.client.handle<string>(handle.id).result()).output, 'rested');
    assert.deepEqual(await statuses(rig, 'sleeper'), ['completed', 'cancelled']);
  });

  it('a pause of the parent does not stop the time', async (t) => {
    const rig = await openRig(t, { workflows });
    const handle = await rig.client.start(parent, { ms: minutes(300) });
    await rig.clock.advance('10m');
    await rig.client.pause(handle.id);
    await rig.clock.advance('2h');
    assert.deepEqual(await statuses(rig, 'sleeper'), ['waiting']);
    await rig.client.resume(handle.id);
    await rig.clock.advance('1s');
    assert.equal(failureOf(await handle.outcome()).code, 'TASK_TIMED_OUT');
  });

  it('the timeout is in the definition only where it is given, and is checked', () => {
    assert.deepEqual(parent.spec.tasks[0]!.child, { workflow: 'sleeper', timeout: 3_600_000 });
    const w = workflow('w');
    w.child('plain', 'x', { input: () => ({}) });
    assert.deepEqual(w.spec.tasks[0]!.child, { workflow: 'x' });
    const bad = workflow('bad');
    assert.throws(() => bad.child('c', 'x', { input: () => ({}), timeout: 'soon' }), OptionInvalidError);
    assert.throws(() => bad.child('c', 'x', { input: () => ({}), retry: {} } as never), DefinitionInvalidError);
  });
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../core/definition/workflow.ts';
import { openRig } from '../testing/engine-rig.ts';
import type { InputOutcome, Outcome, WorkflowCode } from './workflow-code.ts';
import { loadEmbedded, newExecution, resolveEmbedded } from './client/start.ts';

const error = { name: 'Error', code: 'ISOLATE_EXITED', message: 'the process ended' };
const neighbour = { status: 'lost', alone: false, error } as const;
const own = { status: 'lost', alone: true, error } as const;

/**
 * A workflow whose code runs elsewhere and loses its process: the first answers are these, then it answers normally. With
 * `crowded` neighbours end each process that a question shares with them.
 */
function fragile(lost: readonly (typeof neighbour | typeof own)[] | 'crowded') {
  const w = workflow('fragile');
  w.task('a', { when: () => true }, () => 1);
  const { code, ...rest } = loadEmbedded(w);
  const asked: string[] = [];
  const answer = <T extends Outcome | InputOutcome>(
    what: string,
    alone: boolean,
    good: () => Promise<T>,
  ): Promise<T> => {
    asked.push(what);
    const before =
      lost === 'crowded' ? (alone ? undefined : neighbour) : lost[asked.filter((other) => other === what).length - 1];
    return before === undefined ? good() : Promise.resolve(before as T);
  };
  const elsewhere: typeof code = {
    run: (call, host) => code.run(call, host),
    ask: (question, call) => answer(question, call.alone, () => code.ask(question, call)),
    parseInput: (input, maxPayload, alone) => answer('input', alone, () => code.parseInput(input, maxPayload, alone)),
    parseSignal: (...args) => code.parseSignal(...args),
    abandon: () => undefined,
  };
  return { loaded: { ...rest, code: elsewhere }, resolved: { ...resolveEmbedded(w), code: null }, asked };
}

describe('durability.md, Poison suspects: workflow code other than tasks, in an isolate', () => {
  for (const [what, lost, status, times] of [
    ['is repeated if a neighbour ended the process', [neighbour, neighbour], 'completed', 3],
    ['is repeated in a process of its own, which no neighbour ends', 'crowded', 'completed', 2],
    ['fails the execution if it ended the process itself', [own], 'failed', 1],
    ['is given up after repeated losses', Array.from({ length: 9 }, () => neighbour), 'failed', 5],
  ] as const) {
    it(`a call of the input's schema or of \`when\` ${what}`, async (t) => {
      const { loaded, resolved, asked } = fragile(lost);
      const { engine, client, clock, store } = await openRig(t);
      engine.catalog.add([loaded]);
      const input = { text: '{}', parsed: false, given: '{}' };
      const create = newExecution({ resolved, input, options: {}, tenant: 'default', now: clock.now() });
      await store.createExecutions([create]);
      engine.notify();
      await clock.settle();
      assert.equal((await client.executions.get(create.id)).status, status);
      assert.equal(asked.filter((question) => question === 'input').length, times);
      assert.equal(asked.filter((question) => question === 'when').length, status === 'completed' ? times : 0);
    });
  }
});

describe('engine.md, What a graph means: a pause between a question and its answer', () => {
  for (const answer of [true, false]) {
    it(`\`when\` is not asked again after its answer was ${String(answer)}`, async (t) => {
      const w = workflow('w');
      const end = Promise.withResolvers<number>();
      const slow = w.task('slow', () => end.promise);
      w.task('asked', { when: () => answer }, () => 1);
      w.task('after', { needs: { slow } }, () => 1);
      const { code, ...rest } = loadEmbedded(w);
      const answered = Promise.withResolvers<void>();
      let asked = 0;
      const ask: WorkflowCode['ask'] = async (question, call) => {
        asked++;
        await answered.promise;
        return code.ask(question, call);
      };
      const { engine, client, clock, store } = await openRig(t);
      engine.catalog.add([{ ...rest, code: { ...code, ask } }]);
      const input = { text: '{}', parsed: true, given: '{}' };
      const resolved = { ...resolveEmbedded(w), code: null };
      const { id, ...create } = newExecution({ resolved, input, options: {}, tenant: 'default', now: clock.now() });
      await store.createExecutions([{ ...create, id }]);
      engine.notify();
      await clock.settle();
      await client.pause(id);
      await clock.settle();
      answered.resolve();
      await clock.settle();
      if (answer) await client.resume(id);
      end.resolve(1);
      await clock.settle();
      if (!answer) {
        const { status, tasks } = await client.executions.get(id);
        const statuses = tasks.map((task) => [task.name, task.status]);
        assert.deepEqual([status, Object.fromEntries(statuses)], ['paused', { slow: 'completed', asked: 'skipped' }]); // prettier-ignore
        await client.resume(id);
        await clock.settle();
      }
      assert.equal((await client.executions.get(id)).status, 'completed');
      assert.equal(asked, 1);
    });
  }
});

describe('code that violates its contract costs the execution that called it, and not the process', () => {
  const broken = (change: Partial<WorkflowCode>) => {
    const w = workflow('broken');
    const ok = w.wait('ok', { when: () => true, signal: 'ok', timeout: '20s' });
    w.task('after', { needs: { ok } }, () => 1);
    const { code, ...rest } = loadEmbedded(w);
    return { loaded: { ...rest, code: { ...code, ...change } }, resolved: { ...resolveEmbedded(w), code: null } };
  };
  for (const [what, change, message] of [
    ['rejects a question', { ask: () => Promise.reject(new Error('no words')) }, /no words/],
    ['rejects on an input', { parseInput: () => Promise.reject(new Error('no input')) }, /no input/],
    ['rejects on a signal', { parseSignal: () => Promise.reject(new Error('no signal')) }, /no signal/],
    [
      'answers a signal with an invalid outcome',
      { parseSignal: () => Promise.resolve({ status: 'failed' } as unknown as InputOutcome) },
      /undefined/,
    ],
  ] as const) {
    it(`the execution fails if code ${what}`, async (t) => {
      const { loaded, resolved } = broken(change);
      const { engine, client, clock, store } = await openRig(t);
      engine.catalog.add([loaded]);
      const input = { text: '{}', parsed: false, given: '{}' };
      const create = newExecution({ resolved, input, options: {}, tenant: 'default', now: clock.now() });
      await store.createExecutions([create]);
      engine.notify();
      await clock.settle();
      if ('parseSignal' in change) await client.signal(create.id, 'ok', { by: 'ops' });
      await clock.settle();
      const { status, error: failure } = await client.executions.get(create.id);
      assert.equal(status, 'failed');
      assert.equal(failure?.code, 'INTERNAL');
      assert.match(failure.message, message);
    });
  }
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import type { AnyWorkflow } from '../src/core/definition/definition.ts';
import type { ExecutionDetail } from '../src/engine/client/execution-queries.ts';
import { build, normal } from './model/build.ts';
import { disturbances, graphs } from './model/graphs.ts';
import type { Disturbance, ModelGraph } from './model/graphs.ts';
import { interpret } from './model/interpreter.ts';
import type { Ended, Expected } from './model/interpreter.ts';
import { openRunner, World } from './simulation/world.ts';

/** `GRAPHS=100000 npm test -- model` tries more graphs, `SEED=7 npm test -- model` the same ones again. */
const numRuns = Number(process.env['GRAPHS'] ?? 2000);
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));

describe('engine.md, What a graph means: the engine agrees with an interpreter', () => {
  it(`${numRuns} random graphs end as predicted under random outcomes, crashes, pauses and cancels (SEED=${seed})`, async () => {
    const property = fc.asyncProperty(graphs, disturbances, async (graph, disturbance) => {
      await compare(fit(graph, disturbance), disturbance);
    });
    await fc.assert(property, { numRuns, seed, endOnFailure: false });
  });
});

/** An attempt cut by a crash is repeated uncounted, so its behaviour must not depend on its number. */
function fit(graph: ModelGraph, { kind }: Disturbance): ModelGraph {
  if (kind !== 'crash') return graph;
  const tasks = graph.tasks.map((task) => ({
    ...task,
    tries: task.tries.slice(0, 1),
    attempts: Math.max(2, task.attempts),
  }));
  return { ...graph, tasks };
}

async function compare(graph: ModelGraph, disturbance: Disturbance): Promise<void> {
  const world = await World.open({ shared: disturbance.kind === 'crash' });
  const workflows = (): readonly AnyWorkflow[] => build(graph, () => world.clock);
  const options = { leaseMs: 1000 };
  try {
    const runner = await openRunner(world.member('one'), workflows(), options);
    let { client } = runner;
    const { id } = await client.start('model');
    for (const [index, { kind }] of graph.tasks.entries()) {
      if (kind === 'wait') await client.signal(id, `s${index}`, `signal ${index}`);
    }
    if (disturbance.kind !== 'none') await world.clock.advance(disturbance.atMs);
    const over = async (): Promise<boolean> => (await world.store.execution(id))!.endedAt !== null;
    if (disturbance.kind === 'crash') {
      runner.member.kill();
      ({ client } = await openRunner(world.member('two'), workflows(), options));
    } else if (disturbance.kind === 'pause' && !(await over())) {
      await client.pause(id);
      await world.clock.advance(disturbance.forMs);
      if (!(await over())) await client.resume(id);
    } else if (disturbance.kind === 'cancel' && !(await over())) {
      await client.cancel(id);
    }
    for (let waited = 0; !(await over()) && waited < 40; waited++)
      await world.clock.advance(waited < 20 ? 3000 : 60_000);
    const detail = await client.executions.get(id);
    check(interpret(graph), detail, disturbance.kind === 'cancel');
    const events = await client.executions.events(id);
    assert.deepEqual(
      events.map(({ seq }) => seq),
      events.map((_, at) => at + 1),
      'event numbers are gapless',
    );
  } finally {
    await world.close();
  }
}

function check(expected: Expected, detail: ExecutionDetail, mayBeCancelled: boolean): void {
  if (mayBeCancelled && detail.status === 'cancelled') {
    for (const task of detail.tasks) {
      if (task.status !== 'cancelled') checkTask(expected.tasks[Number(task.name.slice(1))]!, task);
    }
    return;
  }
  for (const [index, end] of expected.tasks.entries()) {
    const task = detail.tasks.find(({ name }) => name === `t${index}`);
    assert.ok(task !== undefined, `t${index} has a state`);
    checkTask(end, task);
  }
  assert.equal(detail.status, expected.status);
  if (detail.status === 'failed')
    assert.ok(expected.errorCodes.has(detail.error!.code), `${detail.error!.code}: ${[...expected.errorCodes].join()}`);
  else assert.deepEqual(shown(detail.output), expected.output);
}

function checkTask(expected: Ended, task: ExecutionDetail['tasks'][number]): void {
  assert.equal(task.status, expected.status, task.name);
  if (expected.status === 'completed') assert.deepEqual(normal(task.output), expected.output, task.name);
  if (expected.status === 'failed') assert.equal(task.error!.code, expected.code, task.name);
  if (expected.status === 'skipped') {
    const reasons = [...expected.reasons].map((reason) => reason.split(' ')[0]);
    assert.ok(reasons.includes(task.reason!), `${task.name} was skipped for ${task.reason}`);
  }
}

/** A settled output without the parts that the model does not predict: the error. */
function shown(output: unknown): unknown {
  if (typeof output !== 'object' || output === null || Array.isArray(output) || !('status' in output))
    return normal(output);
  const outcome = output as { status: string; output?: unknown };
  return outcome.status === 'completed'
    ? { status: 'completed', output: normal(outcome.output) }
    : { status: outcome.status };
}

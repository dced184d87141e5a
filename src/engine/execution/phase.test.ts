import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compileGraph } from '../../core/definition/graph.ts';
import { sampleTask, sampleWorkflow } from '../../testing/sample-package.ts';
import { systemClock } from '../clock.ts';
import { OfferBudget } from '../sharing/offer-budget.ts';
import { Slots } from '../slots.ts';
import { LiveState } from './live-state.ts';
import { ended, idle, isActive, isBusy, isCharged } from './phase.ts';
import type { Phase } from './phase.ts';
import { newTaskRun } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

class World {
  readonly slots = new Slots(1);
  readonly offers = new OfferBudget({
    clock: systemClock,
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    queues: ['default'],
    slots: 1,
    onMore: () => undefined,
  });
  marks = 0;
  turnsEnded = 0;
  readonly state: LiveState;
  readonly run: TaskRun;

  constructor() {
    const graph = compileGraph({ ...sampleWorkflow('w'), tasks: [sampleTask('a')], output: null });
    const head = {
      id: 'e',
      tenant: 't',
      epoch: 1,
      priority: 0,
      schedule: null,
      rootId: 'e',
      depth: 0,
      limitKey: null,
      parent: null,
    };
    this.state = new LiveState({ ...head, input: '{}', inputParsed: true, crashCount: 0 }, graph, this, {
      threw: (cause) => assert.fail(String(cause)),
      changed: () => void this.marks++,
    });
    this.run = newTaskRun(0, graph.spec.tasks[0]!);
  }

  readonly endTurn = (): void => void this.turnsEnded++;

  move(phase: Phase): void {
    this.state.move(this.run, phase);
  }

  queued(): Extract<Phase, { is: 'queued' }> {
    const request = { priority: 0, start: () => undefined, cancelled: false };
    return { is: 'queued', request, endTurn: this.endTurn };
  }

  offered(hasSlot: boolean): Extract<Phase, { is: 'offered' }> {
    const { request } = this.queued();
    const at = { task: 'a', item: -1, attempt: 1, buildId: 'b', queue: 'default', priority: 0, at: 0 };
    const offer = { row: { ...at, isPoisonSuspect: false }, taken: false, withdrawing: false };
    return { is: 'offered', offer, request, hasSlot, charged: false };
  }
}

describe('phase: a task gives back what only its old phase held', () => {
  it('a task that leaves the queue cancels its request and ends its turn', () => {
    const world = new World();
    const queued = world.queued();
    world.move(queued);
    world.move(idle);
    assert.deepEqual([queued.request!.cancelled, world.turnsEnded], [true, 1]);
  });

  it('a start takes the turn along from the queue, and gives turn and slot back if it never runs', () => {
    const world = new World();
    world.move(world.queued());
    world.slots.request(0, 't', () => undefined);
    world.move({ is: 'starting', endTurn: world.endTurn, charged: true });
    assert.deepEqual([world.turnsEnded, world.slots.active, isCharged(world.run.phase)], [0, 1, true]);
    world.move(ended);
    assert.deepEqual([world.turnsEnded, world.slots.active, isCharged(world.run.phase)], [1, 0, false]);
  });

  it('an offer keeps its request until it has a slot, and takes the slot along into the start', () => {
    const world = new World();
    const offered = world.offered(false);
    const queued: Phase = { is: 'queued', request: offered.request, endTurn: undefined };
    world.move(queued);
    world.move(offered);
    assert.equal(offered.request!.cancelled, false);
    world.slots.request(0, 't', () => undefined);
    world.move({ ...offered, request: undefined, hasSlot: true });
    world.move({ is: 'starting', endTurn: undefined, charged: false });
    assert.equal(world.slots.active, 1);
  });

  it('an offer that a helper takes gives the slot back', () => {
    const world = new World();
    world.slots.request(0, 't', () => undefined);
    const offered = world.offered(true);
    world.move(offered);
    world.move({ ...offered, request: undefined, hasSlot: false });
    assert.deepEqual([world.slots.active, offered.request!.cancelled, isActive(world.run.phase)], [0, true, true]);
  });

  it('a task that is not waiting has no timer', () => {
    const world = new World();
    let cancelled = 0;
    world.move({ is: 'waiting', timer: { cancel: () => void cancelled++ } });
    assert.equal(world.state.isAtRest, true);
    world.move(idle);
    assert.equal(cancelled, 1);
  });

  it('the execution is at rest only while no task is busy, and every answer marks it', async () => {
    const world = new World();
    const { promise, resolve } = Promise.withResolvers<number>();
    const asked = world.state.asking(
      world.run,
      () => promise,
      (answer) => [answer, world.run.phase.is],
    );
    assert.deepEqual([isBusy(world.run.phase), world.state.isAtRest, world.marks], [true, false, 1]);
    resolve(7);
    assert.deepEqual(await asked, [7, 'idle']);
    assert.deepEqual([world.state.isAtRest, world.marks], [true, 2]);
  });

  it('an answer that comes late leaves the phase that has replaced the question', async () => {
    const world = new World();
    const { promise, resolve } = Promise.withResolvers<void>();
    const asked = world.state.asking(
      world.run,
      () => promise,
      () => world.run.phase.is,
    );
    world.move(ended);
    assert.equal(world.state.isAtRest, true);
    resolve();
    assert.equal(await asked, 'ended');
  });
});

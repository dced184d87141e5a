import assert from 'node:assert/strict';
import { isTaskEnded } from '../../src/core/execution/states.ts';
import type { Batch, CommitResult, NewExecution } from '../../src/store/transition.ts';
import type { Claim, ClaimedExecution, Delivery, Fork } from '../../src/store/store.ts';
import type { ExecutionEvent } from '../../src/engine/client/execution-queries.ts';

export interface Began {
  readonly runner: string;
  readonly id: string;
  readonly task: string;
  readonly item: number | null;
  readonly attempt: number;
}

/** The durable facts, and the earlier observations: the invariants of the simulation. */
export class Ledger {
  readonly acknowledged = new Set<string>();
  /** `execution task item` of each durably completed task. */
  readonly #completed = new Set<string>();
  /** The same for each task that has durably ended in any way. */
  readonly #over = new Set<string>();
  readonly #known = new Set<string>();
  /** Executions that have ended, perhaps more than once. */
  readonly #ended = new Set<string>();
  /** The last owner. */
  readonly #owners = new Map<string, string>();
  readonly #steps = new Map<string, number>();
  readonly #once = new Map<string, number>();
  /** Violations, thrown later by the simulation: an error in a task's function would only be retried. */
  readonly faults: string[] = [];

  /** A call of the database was carried out. */
  called(verb: string, args: readonly unknown[], answer: unknown): void {
    if (verb === 'commit') this.#committed(args[0] as Batch, answer as CommitResult);
    if (verb === 'claim') {
      const { runner } = args[0] as Claim;
      for (const { execution } of answer as readonly ClaimedExecution[]) this.#owners.set(execution.id, runner);
    }
    if (verb === 'cancel' && (answer as Delivery).status === 'applied') this.#ended.add(args[0] as string);
    if (verb === 'fork') this.#known.add((args[0] as Fork).create.id);
    if (verb === 'createExecutions') for (const { id } of args[0] as readonly NewExecution[]) this.#known.add(id);
  }

  #committed({ runner, transitions }: Batch, { lost, kept }: CommitResult): void {
    for (const { id, create, tasks, effects, release } of transitions) {
      if (lost.includes(id)) continue;
      if (release !== null && release.endedAt !== null && !kept.includes(id)) this.#ended.add(id);
      if (create !== null) this.#known.add(id);
      if (create?.owned === true) this.#owners.set(id, runner);
      for (const child of effects?.children ?? []) this.#known.add(child.id);
      for (const { task, item, status } of tasks) {
        if (status === 'completed') this.#completed.add(`${id} ${task} ${item}`);
        if (isTaskEnded(status)) this.#over.add(`${id} ${task} ${item}`);
      }
    }
  }

  /** True if an execution ended; it may have been retried since. */
  hasEnded(id: string): boolean {
    return this.#ended.has(id);
  }

  acknowledge(id: string): void {
    if (!this.#known.has(id)) this.faults.push(`start of ${id} resolved before it was durable`);
    this.acknowledged.add(id);
  }

  /**
   * A task's function begins. A runner that is declared dead and does not know it may repeat tasks that others have
   * completed.
   */
  began({ runner, id, task, item, attempt }: Began, needs: readonly string[]): void {
    const key = `${id} ${task} ${item ?? -1}`;
    if (this.#owners.get(id) !== runner) return;
    if (!this.#known.has(id)) this.faults.push(`${key} began before its execution was durable`);
    if (this.#completed.has(key)) this.faults.push(`${key} began (attempt ${attempt}) though its result is durable`);
    for (const need of needs) {
      if (!this.#over.has(`${id} ${need} -1`)) this.faults.push(`${key} saw ${need} before that was durable`);
    }
  }

  /** A task with one attempt begins, on any runner. */
  beganOnce(id: string, task: string, item: number | null): void {
    const key = `${id} ${task} ${item ?? -1}`;
    this.#once.set(key, (this.#once.get(key) ?? 0) + 1);
  }

  /** Tasks with one attempt ran at most once, and once more for each requested retry. */
  checkOnce(id: string, retries: number): void {
    for (const [key, times] of this.#once) {
      if (key.startsWith(`${id} `) && times > retries + 1)
        this.faults.push(`${key} may run once, and began ${times} times`);
    }
  }

  /** A step returned a result: always the same for one task execution. */
  step(id: string, task: string, item: number | null, result: number): void {
    const key = `${id} ${task} ${item ?? -1}`;
    const before = this.#steps.get(key);
    if (before !== undefined && before !== result)
      this.faults.push(`the step of ${key} ran again after it was durable`);
    this.#steps.set(key, result);
  }

  /** Throws the first violation. */
  check(): void {
    assert.deepEqual(this.faults, []);
  }
}

const ends: ReadonlySet<string> = new Set(['execution.completed', 'execution.failed', 'execution.cancelled']);
const taskEnds: ReadonlySet<string> = new Set(['task.completed', 'task.failed', 'task.skipped', 'task.cancelled']);

/** Checks that the events of one execution form a possible history: numbered without a gap, and no state skipped. */
export function checkLife(events: readonly ExecutionEvent[]): void {
  let state: 'new' | 'active' | 'idle' | 'ended' = 'new';
  const tasksEnded = new Set<string>();
  for (const [at, event] of events.entries()) {
    const { seq, type, task, item, executionId } = event;
    const where = `event ${seq} (${type}) of ${executionId}`;
    assert.equal(seq, at + 1, `${where}: numbers are gapless`);
    if (type === 'execution.created') {
      assert.equal(state, 'new', where);
      state = 'active';
    } else if (type === 'execution.forked' || type === 'execution.cancelling') {
      assert.notEqual(state, 'new', where);
    } else if (type === 'execution.retried') {
      assert.ok(state === 'ended' || state === 'idle', where);
      tasksEnded.clear();
      state = 'active';
    } else if (ends.has(type)) {
      assert.notEqual(state, 'ended', `${where}: it ended before`);
      state = 'ended';
    } else if (type === 'execution.waiting' || type === 'execution.paused') {
      assert.notEqual(state, 'ended', where);
      state = 'idle';
    } else if (type.startsWith('execution.')) {
      assert.notEqual(state, 'ended', where);
      state = 'active';
    } else {
      assert.notEqual(state, 'ended', where);
      if (task === null) continue;
      const key = `${task} ${item ?? ''}`;
      assert.ok(!tasksEnded.has(key), `${where}: ${key} ended before`);
      if (type !== 'task.cancelled') assert.equal(state, 'active', `${where}: while it is idle`);
      if (taskEnds.has(type)) tasksEnded.add(key);
    }
  }
  assert.equal(state, 'ended', `${events.at(-1)?.executionId}: it has no end`);
}

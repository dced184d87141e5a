import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Json } from '../../core/json.ts';
import { workflow } from '../../core/definition/workflow.ts';
import { ManualClock } from '../../testing/clock.ts';
import { run } from '../../store/script.ts';
import { openRig } from '../../testing/engine-rig.ts';
import type { Timer } from '../clock.ts';
import type { ExecutionOutcome } from '../client/client.ts';

const fine = workflow('fine');
fine.task('a', () => 1);

/** A clock that cannot set a timer of one specific length. */
class BrokenClock extends ManualClock {
  #broken = false;

  /** The next reading of the time throws. */
  breakOnce(): never {
    this.#broken = true;
    throw new Error('no');
  }

  override now(): number {
    if (!this.#broken) return super.now();
    this.#broken = false;
    throw new RangeError('no time');
  }

  override timer(delayMs: number, fire: () => void): Timer {
    if (delayMs === 12_345) throw new RangeError('Invalid timer');
    return super.timer(delayMs, fire);
  }
}

describe('an exception in the code that advances an execution costs that execution and never its runner', () => {
  it('a map whose outputs together exceed the storage limit fails with OUTPUT_TOO_LARGE', async (t) => {
    const w = workflow('w');
    const large = 'x'.repeat(20_000_000);
    const m = w.map('m', { over: () => [0, 1, 2, 3, 4, 5, 6] }, () => large);
    const rig = await openRig(t, { workflows: [w.returns(m), fine], maxPayload: 30_000_000 });
    const outcome = await (await rig.client.start('w')).outcome();
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.code, 'OUTPUT_TOO_LARGE');
    assert.match(outcome.error.message, /map 'm' have 140000022 characters of JSON together, and at most 134217728/);
    assert.equal(codeOf(await (await rig.client.start('fine')).outcome()), 'completed');
  });

  it('a change that the database refuses fails with STORE_REFUSED, also if the error repeats the refused text', async (t) => {
    const w = workflow('w');
    w.task('a', () => 'poison');
    w.task('b', { timeout: '1h' }, ({ signal }) => new Promise((_, no) => signal.addEventListener('abort', no)));
    const rig = await openRig(t, { workflows: [w, fine] });
    for (const [table, columns] of [
      ['task_executions', ['output', 'error']],
      ['events', ['data']],
    ] as const) {
      const refused = columns.map((column) => `new.${column} like '%poison%'`).join(' or ');
      const allowed = columns.map((column) => `${column} not like '%poison%'`).join(' and ');
      await rig.store.write(({ dialect }) =>
        run(
          dialect.lockNames === null
            ? `create trigger refuse_${table} before insert on ${table} when ${refused}
               begin select raise(abort, 'no poison'); end`
            : `alter table ${table} add constraint no_poison_${table} check (${allowed})`,
        ),
      );
    }
    const handle = await rig.client.start('w');
    const outcome = await handle.outcome();
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.code, 'STORE_REFUSED');
    assert.match(
      outcome.error.message,
      /^the database refuses what the execution stores, and the text of its own error/,
    );
    const tasks = await rig.store.tasks(handle.id);
    // the start of b was a part of the refused change
    assert.deepEqual(
      tasks.map(({ task, status, error }) => [task, status, (JSON.parse(error!) as { code: string }).code]),
      [
        ['a', 'failed', 'STORE_REFUSED'],
        ['b', 'failed', 'STORE_REFUSED'],
      ],
    );
    assert.equal(codeOf(await (await rig.client.start('fine')).outcome()), 'completed');
  });

  it('a change too large to store at once fails with STORE_REFUSED and is not sent', async (t) => {
    const w = workflow('w');
    w.task('a', () => 'x'.repeat(270_000_000));
    const rig = await openRig(t, { workflows: [w, fine], maxPayload: 300_000_000 });
    const outcome = await (await rig.client.start('w')).outcome();
    assert.ok(outcome.status === 'failed');
    assert.equal(outcome.error?.code, 'STORE_REFUSED');
    assert.match(
      outcome.error.message,
      /has 270000258 characters of JSON, and at most 268435456 can be stored at once/,
    );
    assert.equal(codeOf(await (await rig.client.start('fine')).outcome()), 'completed');
  });

  it('the exception is thrown at the end of an attempt', async (t) => {
    let broken = true;
    const random = (): number => {
      if (broken) throw new RangeError('no entropy');
      return 0.5;
    };
    const w = workflow('w');
    const a = w.task('a', () => {
      throw new Error('again');
    });
    w.task('b', { needs: { a } }, () => 1);
    const rig = await openRig(t, { workflows: [w, fine], random, concurrency: 1 });
    const outcome = await (await rig.client.start('w')).outcome();
    assert.ok(outcome.status === 'failed');
    assert.deepEqual([outcome.error?.code, outcome.error?.message], ['INTERNAL', 'no entropy']);
    const said = rig.logged.filter(({ level }) => level === 'error');
    assert.deepEqual(
      said.map(({ details }) => Reflect.get(details, 'execution') as unknown),
      [outcome.executionId],
    );
    broken = false;
    assert.equal(codeOf(await (await rig.client.start('fine')).outcome()), 'completed', 'its slot is free again');
  });

  it('the exception is thrown after a commit', async (t) => {
    const clock = new BrokenClock();
    const w = workflow('w');
    w.sleep('s', { for: 12_345 });
    const many = workflow('many');
    many.task('a', () => 1);
    const rig = await openRig(t, { workflows: [w, many], clock });
    const handles = await Promise.all([rig.client.start('many'), rig.client.start('w'), rig.client.start('many')]);
    await clock.advance(1000);
    const outcomes = await Promise.all(handles.map((handle) => handle.outcome()));
    assert.deepEqual(outcomes.map(codeOf), ['completed', 'INTERNAL', 'completed']);
  });

  it('the exception is thrown after a question without a caller', async (t) => {
    const clock = new BrokenClock();
    const w = workflow('w');
    w.task('a', { when: () => clock.breakOnce() }, () => 1);
    const rig = await openRig(t, { workflows: [w, fine], clock });
    assert.equal(codeOf(await (await rig.client.start('w')).outcome()), 'INTERNAL');
    assert.equal(codeOf(await (await rig.client.start('fine')).outcome()), 'completed');
  });
});

function codeOf(outcome: ExecutionOutcome<Json>): string | undefined {
  return outcome.status === 'failed' ? outcome.error?.code : outcome.status;
}

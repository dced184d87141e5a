import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settled, workflow } from '../definition/workflow.ts';
import { begunTasks, changedTasks, differenceText } from './continuing.ts';
import type { TaskStatus } from './states.ts';

const state = (task: string, status: TaskStatus, startedAt: number | null, item = -1) => ({
  task,
  status,
  startedAt,
  item,
});

describe('engine.md, Versions: what another definition must have', () => {
  it('a task has begun if it has a result or an attempt of it has started; a skipped one has not', () => {
    const tasks = [
      state('completed', 'completed', null),
      state('failed', 'failed', 5),
      state('stopped', 'cancelled', 5),
      state('never', 'cancelled', null),
      state('skipped', 'skipped', null),
      state('pending', 'pending', 5),
      state('waiting', 'waiting', 5),
      state('map', 'running', 5, 3),
    ];
    assert.deepEqual(begunTasks(tasks), ['completed', 'failed', 'stopped', 'waiting']);
  });

  it('a task that is missing, of another kind or with other needs has changed; aliases and code do not count', () => {
    const before = workflow('w');
    const a = before.task('a', () => 1);
    before.task('b', { needs: { x: a } }, () => 1);
    before.task('c', { needs: { a: settled(a) } }, () => 1);
    before.sleep('d', { for: 10 });
    before.task('e', () => 1);
    const now = workflow('w');
    const again = now.task('a', { timeout: '1s' }, () => 2);
    now.task('b', { needs: { y: again } }, () => 2);
    now.task('c', { needs: { a: again } }, () => 2);
    now.task('d', () => 2);
    const names = ['a', 'b', 'c', 'd', 'e'];
    const changed = changedTasks(before.spec, now.spec, names);
    assert.deepEqual(changed, ['c', 'd', 'e']);
    assert.equal(
      differenceText(before.spec, now.spec, changed),
      "'c' needs 'a', not 'a' (settled); 'd' is of kind task, not sleep; 'e' is missing",
    );
  });
});

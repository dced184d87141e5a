import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { DefinitionInvalidError, OptionInvalidError, ScheduleInvalidError } from '../error.ts';
import { functionsOf, isWorkflow, settled, workflow } from './workflow.ts';

function refused(act: () => unknown, message: RegExp): void {
  assert.throws(act, (error) => {
    assert.ok(error instanceof DefinitionInvalidError, String(error));
    assert.match(error.message, message);
    return true;
  });
}

describe('engine.md: an invalid graph is an error at definition that names the tasks', () => {
  it('two tasks of one name are refused', () => {
    const w = workflow('w');
    w.task('a', () => 1);
    refused(() => w.task('a', () => 2), /'w'.*two tasks named 'a'/);
  });

  it('a task of another workflow is refused as a plain need, a settled need and an output', () => {
    const alien = workflow('other').task('alien', () => 1) as never;
    const w = workflow('w');
    refused(() => w.task('a', { needs: { x: alien } }, () => 1), /'a' needs 'alien' \(as 'x'\)/);
    refused(() => w.task('b', { needs: { x: settled(alien) } }, () => 1), /'b' needs 'alien'/);
    refused(() => w.returns(alien), /another workflow/);
  });

  it('a need that is no task is refused', () => {
    const w = workflow('w');
    refused(() => w.task('a', { needs: { x: undefined as never } }, () => 1), /'a' needs 'x'/);
    refused(() => w.task('a', { needs: { x: { name: 'a' } as never } }, () => 1), /'a' needs 'a'/);
  });

  it('a task without a function is refused', () => {
    refused(() => workflow('w').task('a', undefined as never), /'a' has no function/);
    refused(() => workflow('w').task('a', {}, 5 as never), /'a' has no function/);
  });

  it('a workflow without tasks is refused', () => refused(() => workflow('w').spec, /no task/));

  it('two outputs are refused', () => {
    const w = workflow('w');
    const a = w.task('a', () => 1);
    const b = w.task('b', () => 1);
    assert.doesNotThrow(() => w.returns(a).returns(a));
    refused(() => w.returns(b), /both 'a' and 'b'/);
  });

  it('a name that is ambiguous or cannot be shown is refused', () => {
    for (const name of ['', ' x', 'a b', 'a/b', '-x', '.', 'é', 'x'.repeat(201)]) refused(() => workflow(name), /name/);
    for (const name of ['', 'a\nb', '\uD800', 'x'.repeat(201), 5 as unknown as string]) {
      refused(() => workflow('w').task(name, () => 1), /needs a name/);
    }
    assert.doesNotThrow(() => workflow('w').task('Größe / £ 1', () => 1));
  });

  it('a name of a task, schedule, signal, queue or need with an invisible character is refused', () => {
    for (const bad of ['a\u009bb', 'a\u202eb', 'a\u200bb', 'a\u2028b', '\ud800']) {
      const w = workflow('w');
      const a = w.task('a', () => 1);
      refused(() => w.task(bad, () => 1), /a task needs a name/);
      refused(() => w.schedule(bad, { every: '1m' }), /a schedule needs a name/);
      refused(() => w.wait('b', { signal: bad }), /a signal needs a name/);
      refused(() => w.task('c', { queue: bad }, () => 1), /is not the name of a queue/);
      refused(() => w.task('d', { needs: { [bad]: a } }, () => 1), /a need needs a name/);
    }
  });

  it('an invalid limit or duration, and a schedule that can never fire, are refused', () => {
    refused(() => workflow('w', { concurrency: { limit: 0 } }), /limit/);
    assert.throws(() => workflow('w').task('a', { timeout: 'soon' }, () => 1), OptionInvalidError);
    assert.throws(() => workflow('w').task('a', { retry: { attempts: 0 } }, () => 1), OptionInvalidError);
    const w = workflow('w');
    w.task('a', () => 1);
    w.schedule('s', { cron: '0 0 31 2 *' });
    assert.throws(() => w.spec, ScheduleInvalidError);
  });

  it('sleep, map, child and wait without their required options are refused', () => {
    const w = workflow('w');
    refused(() => w.sleep('s', {} as never), /'for'.*'until'/);
    refused(() => w.map('m', {} as never, () => 1), /'over'/);
    refused(() => w.child('c', 'x', {} as never), /'input'/);
    refused(() => w.wait('x', { signal: '' }), /no signal/);
  });
});

describe('a definition is plain data', () => {
  it('a definition is frozen by its first use', () => {
    const w = workflow('w');
    const a = w.task('a', () => 1);
    assert.equal(w.spec, w.spec);
    refused(() => w.task('b', () => 1), /in use/);
    refused(() => w.returns(a), /in use/);
    refused(() => w.schedule('s', { every: '1m' }), /in use/);
  });

  it('a definition is plain JSON in which code is only marked', () => {
    const w = workflow('w', { input: z.object({ n: z.number() }), description: 'text', failFast: true });
    const a = w.task('a', { when: () => true, retry: { when: () => true } }, () => 1);
    w.task('b', { needs: { x: settled(a) }, timeout: '10m' }, () => 2);
    w.sleep('s', { for: '1d' });
    const { spec } = w.returns(a);
    assert.deepEqual(JSON.parse(JSON.stringify(spec)), spec);
    assert.deepEqual(spec.output, { task: 'a', settled: false });
    assert.equal(spec.failFast, true);
    assert.equal(spec.tasks[0]!.when, true);
    assert.equal(spec.tasks[0]!.retry?.when, true);
    assert.equal(spec.tasks[0]!.timeout, 3_600_000);
    assert.deepEqual(spec.tasks[1]!.needs, { x: { task: 'a', settled: true } });
    assert.equal(spec.tasks[1]!.timeout, 600_000);
    assert.deepEqual(spec.tasks[2]!.sleep, { for: 86_400_000 });
    assert.equal(spec.tasks[2]!.retry, null);
    assert.equal(spec.tasks[2]!.timeout, null);
  });

  it('a definition keeps its functions apart and is recognised as a workflow', () => {
    const w = workflow('w');
    const run = (): number => 1;
    w.task('a', run);
    assert.equal(functionsOf(w).tasks.get('a')!.run, run);
    assert.ok(isWorkflow(w));
    assert.ok(!isWorkflow({ name: 'w' }) && !isWorkflow(null) && !isWorkflow('w'));
  });

  it('a definition accepts an alias or a task named like a member of Object', () => {
    const w = workflow('w');
    const a = w.task('constructor', () => 1);
    w.task('toString', { needs: { hasOwnProperty: a } }, () => 2);
    assert.deepEqual(Object.keys(w.spec.tasks[1]!.needs), ['hasOwnProperty']);
  });
});

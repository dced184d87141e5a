import type { StandardSchemaV1 } from '@standard-schema/spec';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { CloacinaError, ExecutionFailedError, settled, unchecked, workflow } from '../../src/index.ts';
import type { AnyWorkflow, Client, ExecutionEvent, ExecutionSummary, Json, Page, Workflow } from '../../src/index.ts';

const shop = workflow('shop', { input: unchecked<{ items: number }>(), description: 'Adds up an order.' });
const price = shop.task('price', ({ input }) => {
  return { total: input.items * 3 };
});
const notice = shop.task('notice', { needs: { price } }, ({ needs }) => `to pay: ${needs.price.total}`);
const shopDone: Workflow<{ items: number }, string, 'shop'> = shop.returns(notice);

const receiver: StandardSchemaV1<{ to: string }> = {
  '~standard': {
    version: 1,
    vendor: 'suite',
    validate: (value) =>
      typeof value === 'object' && value !== null && 'to' in value
        ? { value: value as { to: string } }
        : { issues: [{ message: 'a receiver is needed', path: ['to'] }] },
  },
};
const strict = workflow('strict', { input: receiver });
const send = strict.task('send', ({ input }) => input.to);
const strictDone: Workflow<{ to: string }, string, 'strict'> = strict.returns(send);

const failing = workflow('failing');
failing.task('fetch', { retry: { attempts: 1 } }, () => {
  throw Object.assign(new Error('nothing left'), { code: 'OUT_OF_STOCK' });
});

const patient = workflow('patient');
const wait = patient.task(
  'wait',
  ({ signal }) => new Promise<number>((resolve) => signal.addEventListener('abort', () => resolve(1))),
);
patient.task('after', { needs: { outcome: settled(wait) } }, ({ needs }) => needs.outcome.status);

/** Waits for a signal, and fails until the signal has the expected payload. */
const gate = workflow('gate');
const opened = gate.wait('opened', { signal: 'open' });
const through = gate.task('through', { needs: { opened }, retry: { attempts: 1 } }, ({ needs, log, attempt }) => {
  log.info('at the gate', { attempt });
  if (needs.opened === 'no' && attempt === 1) throw new Error('not open');
  return `went through: ${JSON.stringify(needs.opened)}`;
});
const gateDone: Workflow<Json, string, 'gate', unknown> = gate.returns(through);

/** The embedded workflows that the runner of the suite must have. */
export const suiteWorkflows: readonly AnyWorkflow[] = [shopDone, strictDone, failing, patient, gateDone];

/** A client to test, and a runner; both know a registry. */
export interface ClientPlace {
  readonly client: Client;
  /** Packs one module as version 1.0.0 of a package. */
  readonly pack: (name: string, source: string) => Promise<Uint8Array>;
  readonly close: () => Promise<void>;
}

/** The verbs of a client: the same calls for every kind of client (interfaces.md, One set of verbs). */
export function clientSuite(name: string, open: () => Promise<ClientPlace>): void {
  describe(`interfaces.md, One set of verbs: ${name}`, () => {
    let place: ClientPlace;
    before(async () => {
      place = await open();
    });
    after(() => place.close());

    startTests(() => place.client);
    readTests(() => place.client);
    controlTests(() => place.client);
    registryTests(() => place);
    scheduleTests(() => place.client);
  });
}

function startTests(client: () => Client): void {
  it('execute returns the output and the outputs of all tasks', async () => {
    const result = await client().execute(shopDone, { items: 2 });
    assert.equal(result.output, 'to pay: 6');
    assert.deepEqual(result.outputs, { price: { total: 6 }, notice: 'to pay: 6' });
  });

  it('start is durable once it resolves, and accepts a workflow or its name', async () => {
    const byItself = await client().start(shopDone, { items: 1 });
    const byName = await client().start('shop', { items: 1 });
    const byLongName = await client().start('embedded/shop', { items: 1 });
    for (const execution of [byItself, byName, byLongName]) {
      assert.equal((await client().executions.get(execution.id)).workflow, 'shop');
      assert.equal((await execution.result()).output, 'to pay: 3');
    }
  });

  it('result() throws ExecutionFailedError with the task and its error, and outcome() does not throw', async () => {
    const execution = await client().start(failing);
    const outcome = await execution.outcome();
    assert.deepEqual([outcome.status, outcome.status === 'failed' && outcome.error?.code], ['failed', 'OUT_OF_STOCK']);
    await assert.rejects(execution.result(), (error) => {
      assert.ok(error instanceof ExecutionFailedError);
      assert.equal(error.code, 'EXECUTION_FAILED');
      assert.deepEqual([error.executionId, error.status, error.task], [execution.id, 'failed', 'fetch']);
      assert.equal((error.cause as Error).message, 'nothing left');
      return true;
    });
  });

  it('an invalid input is refused with its issues and leaves no row', async () => {
    const count = (await client().executions.list({ workflow: 'strict' })).items.length;
    await assert.rejects(client().start(strictDone, {} as { to: string }), {
      code: 'INPUT_INVALID',
      issues: [{ path: 'to', message: 'a receiver is needed' }],
    });
    assert.equal((await client().executions.list({ workflow: 'strict' })).items.length, count);
  });

  it('an unknown workflow is refused with near names', async () => {
    await assert.rejects(client().start('shopp'), { code: 'WORKFLOW_NOT_FOUND', near: ['shop'] });
  });

  it('the same idempotency key returns the same execution, and another input is refused', async () => {
    const first = await client().start(shopDone, { items: 5 }, { idempotencyKey: 'order-5' });
    const again = await client().start(shopDone, { items: 5 }, { idempotencyKey: 'order-5' });
    assert.equal(again.id, first.id);
    await assert.rejects(client().start(shopDone, { items: 6 }, { idempotencyKey: 'order-5' }), {
      code: 'IDEMPOTENCY_CONFLICT',
      executionId: first.id,
    });
    assert.equal((await first.result()).output, 'to pay: 15');
  });

  it('startMany starts all or none', async () => {
    const many = await client().startMany(shopDone, [{ items: 1 }, { items: 2 }, { items: 3 }]);
    const outputs = await Promise.all(many.map(async (execution) => (await execution.result()).output));
    assert.deepEqual(outputs, ['to pay: 3', 'to pay: 6', 'to pay: 9']);
    const count = (await client().executions.list({ workflow: 'strict' })).items.length;
    await assert.rejects(client().startMany(strictDone, [{ to: 'a' }, {} as { to: string }]), {
      code: 'INPUT_INVALID',
    });
    assert.equal((await client().executions.list({ workflow: 'strict' })).items.length, count);
  });

  it('cancel reaches a running execution and is refused for an ended or unknown one', async () => {
    const execution = await client().start(patient);
    await until(async () =>
      (await client().executions.get(execution.id)).tasks.some((task) => task.status === 'running'),
    );
    await client().cancel(execution.id);
    assert.equal((await execution.outcome()).status, 'cancelled');
    await assert.rejects(client().cancel(execution.id), { code: 'EXECUTION_ENDED', status: 'cancelled' });
    await assert.rejects(client().cancel('00000000-0000-7000-8000-000000000000'), { code: 'EXECUTION_NOT_FOUND' });
    await assert.rejects(client().handle('00000000-0000-7000-8000-000000000000').outcome(), {
      code: 'EXECUTION_NOT_FOUND',
    });
  });
}

function readTests(client: () => Client): void {
  it('executions are shown with their tasks and events, and listed in pages, the newest first', async () => {
    const { executionId } = await client().execute(shopDone, { items: 4 }, { tags: { team: 'sales' }, priority: 3 });
    const shown = await client().executions.get(executionId);
    assert.deepEqual(shown.input, { items: 4 });
    assert.equal(shown.output, 'to pay: 12');
    assert.deepEqual([shown.tags, shown.priority, shown.status], [{ team: 'sales' }, 3, 'completed']);
    assert.deepEqual(
      shown.tasks
        .map((task) => [task.name, task.status])
        .map(String)
        .toSorted(),
      ['notice,completed', 'price,completed'],
    );
    const events = await client().executions.events(executionId);
    assert.deepEqual(
      events.map((event) => event.seq),
      Array.from(events.keys(), (i) => i + 1),
    );
    assert.equal(events.at(-1)?.type, 'execution.completed');
    const pages: string[] = [];
    for (let next: string | null = ''; next !== null;) {
      const from: { after?: string } = next === '' ? {} : { after: next };
      const page: Page<ExecutionSummary> = await client().executions.list({ workflow: 'shop', limit: 2, ...from });
      pages.push(...page.items.map((item) => item.id));
      next = page.next;
    }
    assert.deepEqual(pages, pages.toSorted().toReversed());
    assert.equal(pages[0], executionId);
  });

  it('workflows are listed and found by name', async () => {
    const names = new Set((await client().workflows.list()).map((entry) => entry.name));
    for (const wanted of ['patient', 'shop', 'strict']) assert.ok(names.has(wanted), wanted);
    assert.equal((await client().workflows.get('shop')).spec.description, 'Adds up an order.');
    await assert.rejects(client().workflows.get('shpo'), { code: 'WORKFLOW_NOT_FOUND' });
  });
}

function controlTests(client: () => Client): void {
  const waits = (id: string): Promise<void> =>
    until(async () => (await client().executions.get(id)).status === 'waiting');

  it('a signal resumes an execution, and its logs and events can be read once each', async () => {
    const execution = await client().start(gateDone);
    const watched: ExecutionEvent[] = [];
    const watching = (async () => {
      for await (const event of client().executions.watch(execution.id)) watched.push(event);
    })();
    await waits(execution.id);
    await assert.rejects(client().signal(execution.id, 'opne', 1), { code: 'SIGNAL_UNKNOWN', near: ['open'] });
    await client().signal(execution.id, 'open', 'yes');
    assert.equal((await execution.result()).output, 'went through: "yes"');
    await watching;
    assert.deepEqual(watched, await client().executions.events(execution.id));
    assert.deepEqual(
      watched.map(({ seq }) => seq),
      watched.map((_, at) => at + 1),
    );
    const [line] = await client().executions.logs(execution.id, { task: 'through' });
    assert.deepEqual([line!.level, line!.message, line!.data], ['info', 'at the gate', { attempt: 1 }]);
    await assert.rejects(client().signal(execution.id, 'open', 1), { code: 'EXECUTION_ENDED' });
  });

  it('pause, resume, retry after a failure and fork with reused tasks work', async () => {
    const execution = await client().start(gateDone);
    await waits(execution.id);
    assert.equal((await client().pause(execution.id)).status, 'paused');
    await client().signal(execution.id, 'open', 'no');
    assert.equal((await client().resume(execution.id)).status, 'pending');
    const outcome = await execution.outcome();
    assert.deepEqual([outcome.status, outcome.status === 'failed' && outcome.task], ['failed', 'through']);
    assert.equal((await client().retry(execution.id)).status, 'pending');
    assert.equal((await execution.result()).output, 'went through: "no"');
    const forked = await client().fork(execution.id, { from: 'through' });
    assert.equal((await forked.outcome()).status, 'failed');
    assert.deepEqual((await client().executions.get(forked.id)).forked, { from: execution.id, task: 'through' });
    await assert.rejects(client().fork(execution.id, { from: 'thru' }), { code: 'TASK_NOT_FOUND' });
    await assert.rejects(client().resume(forked.id), { code: 'EXECUTION_ENDED' });
  });

  it('pages do not shift when executions are added in between', async () => {
    const tags = { paging: 'test' };
    await client().startMany(
      shopDone,
      Array.from({ length: 7 }, () => ({ items: 1 })),
      { tags },
    );
    const first = await client().executions.list({ tags, limit: 3 });
    await client().startMany(shopDone, [{ items: 1 }, { items: 1 }], { tags });
    const second = await client().executions.list({ tags, limit: 3, after: first.next! });
    const third = await client().executions.list({ tags, limit: 3, after: second.next! });
    const ids = [first, second, third].flatMap(({ items }) => items.map(({ id }) => id));
    assert.equal(new Set(ids).size, 7);
    assert.equal(third.next, null);
    await assert.rejects(client().executions.list({ after: 'nonsense' }), { code: 'OPTION_INVALID' });
  });
}

function registryTests(place: () => ClientPlace): void {
  it('a package is registered, run by both of its names, shown and unregistered', async () => {
    const source = `import { workflow } from 'cloacina';
      const w = workflow('w');
      const only = w.task('only', () => 'from the package');
      export default w.returns(only);`;
    const { client, pack } = place();
    const { registry } = client;
    const bytes = await pack('suite_package', source);
    const registered = await registry.register(bytes);
    assert.deepEqual([registered.created, registered.activated], [true, true]);
    assert.equal((await registry.register(bytes)).created, false);
    const other = await pack('suite_package', `${source}\n// changed`);
    await assert.rejects(registry.register(other), {
      code: 'PACKAGE_EXISTS',
      packageName: 'suite_package',
      version: '1.0.0',
    });
    const handle = await client.start('suite_package/w');
    assert.equal((await client.executions.get(handle.id)).package, 'suite_package');
    assert.equal((await handle.outcome()).status, 'completed');
    assert.equal((await client.start('w').then((execution) => execution.outcome())).status, 'completed');
    const listed = async (name: string): Promise<number> =>
      (await client.executions.list({ workflow: name })).items.length;
    assert.deepEqual(await Promise.all(['w', 'suite_package/w', 'embedded/w', 'other/w'].map(listed)), [2, 2, 0, 0]);
    const shops = await listed('shop');
    assert.deepEqual(await Promise.all(['embedded/shop', 'suite_package/shop'].map(listed)), [shops, 0]);
    assert.ok(shops > 0);
    assert.deepEqual((await registry.list()).map((item) => [item.name, item.version, item.active]).map(String), [
      'suite_package,1.0.0,true',
    ]);
    await assert.rejects(registry.unregister('suite_package', '1.0.0'), { code: 'PACKAGE_ACTIVE' });
    assert.deepEqual((await registry.unregister('suite_package')).removed, ['1.0.0']);
    await assert.rejects(client.start('suite_package/w'), { code: 'WORKFLOW_NOT_FOUND' });
  });
}

function scheduleTests(client: () => Client): void {
  it('a schedule is added, shown, previewed, paused, resumed and removed', async () => {
    const { schedules } = client();
    const request = { workflow: 'shop', cron: '0 2 * * *', timezone: 'Europe/Berlin', input: { items: 1 } };
    const added = await schedules.add('nightly', request);
    assert.equal(added.created, true);
    assert.equal((await schedules.add('nightly', request)).created, false);
    await assert.rejects(schedules.add('nightly', { ...request, cron: '0 3 * * *' }), { code: 'SCHEDULE_EXISTS' });
    await assert.rejects(schedules.add('bad', { ...request, cron: '61 * * * *' }), { code: 'SCHEDULE_INVALID' });
    await assert.rejects(schedules.add('bad', { ...request, workflow: 'nobody' }), { code: 'WORKFLOW_NOT_FOUND' });
    assert.equal((await schedules.preview('nightly', 3)).slots.length, 3);
    await schedules.pause('nightly');
    assert.equal((await schedules.get('nightly')).paused, true);
    await schedules.resume('nightly');
    assert.deepEqual((await schedules.list()).map((schedule) => [schedule.name, schedule.paused]).map(String), [
      'nightly,false',
    ]);
    await schedules.remove('nightly');
    await assert.rejects(schedules.get('nightly'), { code: 'SCHEDULE_NOT_FOUND' });
  });

  it('a slot starts an execution, and history and statistics show it', async () => {
    const { schedules } = client();
    await schedules.add('soon', { workflow: 'shop', at: new Date(Date.now() + 200), input: { items: 7 } });
    await until(async () => (await schedules.history('soon')).some((slot) => slot.status === 'completed'));
    const stats = await schedules.stats({ schedule: 'soon' });
    assert.deepEqual([stats.total, stats.completed, stats.successRate], [1, 1, 1]);
    await schedules.remove('soon');
  });

  it('a closed client refuses every call', async () => {
    await client().close();
    await assert.rejects(
      client().start(shopDone, { items: 1 }),
      (error) => error instanceof CloacinaError && error.code === 'RUNNER_CLOSED',
    );
  });
}

/** Waits for an effect of another process or of concurrent work. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it did not come about in 10 s');
}

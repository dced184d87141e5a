import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, test } from 'node:test';
import type { TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { workflow } from '../src/core/definition/workflow.ts';
import { Client, Runner } from '../src/open.ts';
import { packArchive } from '../src/package/archive/archive.ts';
import { run } from '../src/store/script.ts';
import { SchedulePlace, withTask } from '../src/testing/schedule-place.ts';
import { sampleManifest, sampleWorkflow } from '../src/testing/sample-package.ts';

interface Place {
  readonly url: string;
  readonly registry: string;
  readonly warnings: string[];
  readonly logger: object & Record<'debug' | 'info' | 'warn' | 'error', (data: object, message: string) => void>;
  /** Changes rows directly, while runners and clients are open. */
  readonly damage: (sql: string) => void;
}

function place(t: TestContext): Place {
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-damaged-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'app.db');
  const warnings: string[] = [];
  const silent = (): void => undefined;
  const warn = (data: object, message: string): void =>
    void warnings.push(`${message}: ${JSON.stringify(data)} ${String(Reflect.get(data, 'error'))}`);
  return {
    url: `sqlite:${file}`,
    registry: pathToFileURL(join(folder, 'packages')).href,
    warnings,
    logger: { debug: silent, info: silent, warn, error: warn },
    damage: (sql) => {
      const db = new DatabaseSync(file, { timeout: 10_000 });
      db.exec(sql);
      db.close();
    },
  };
}

async function register(client: Client, name: string): Promise<void> {
  const manifest = { ...sampleManifest(name), workflows: [sampleWorkflow(`${name}_flow`)] };
  const { bytes } = await packArchive(manifest, new Map([['code/index.mjs', Buffer.from('export {};\n')]]));
  await client.registry.register(bytes);
}

describe('a manifest that is damaged in the database', () => {
  for (const [what, text] of [
    ['is cut', '{"workflows": ['],
    ['has no workflows', '{}'],
    ['lacks the workflow', '{"workflows": []}'],
  ] as const) {
    it(`a manifest that ${what} is an error with a code and hides no other package`, async (t) => {
      const { url, registry, warnings, logger, damage } = place(t);
      const writer = await Client.open(url, { registry });
      await register(writer, 'good');
      await register(writer, 'bad');
      const { id } = await writer.start('bad_flow');
      await writer.close();
      damage(`update packages set manifest = '${text}' where name = 'bad'`);

      const client = await Client.open(url, { registry, logger });
      t.after(() => client.close());
      await assert.rejects(client.start('bad_flow'), { code: 'ROW_DAMAGED', message: /manifest of .* is damaged/ });
      assert.deepEqual(
        (await client.workflows.list()).map(({ name }) => name),
        ['good_flow'],
      );
      assert.match(warnings.join('\n'), /skipped.*ROW_DAMAGED|skipped.*manifest of/);
      await assert.rejects(client.start('goodflow'), {
        code: 'WORKFLOW_NOT_FOUND',
        message: /did you mean 'good_flow'/,
      });
      await client.start('good_flow');
      await client.cancel(id);
      assert.equal((await client.executions.get(id)).status, 'cancelled');
    });
  }
});

const rows = {
  'a rule that is cut': `rule = '{"cron": '`,
  'a rule that is invalid': `rule = '{"cron": 5}'`,
  'a cron expression that is invalid': `rule = json_set(rule, '$.cron', 'every so often')`,
  'an input that is cut': `input = '{'`,
  'overrides that are cut': `overrides = '{'`,
} as const;

describe('a damaged row of an embedded schedule', () => {
  for (const [what, set] of Object.entries(rows)) {
    it(`${what} in the row does not stop a runner from opening, and the row is written anew`, async (t) => {
      const { url, warnings, logger, damage } = place(t);
      const definition = withTask(workflow('etl'));
      definition.schedule('nightly', { cron: '0 2 * * *', input: { a: 1 } });
      await (await Runner.open(url, { workflows: [definition], logger })).close();
      damage(`update schedules set ${set}`);
      const runner = await Runner.open(url, { workflows: [definition], logger });
      t.after(() => runner.close());
      const detail = await runner.schedules.get('nightly');
      assert.deepEqual([detail.cron, detail.input, detail.enabled], ['0 2 * * *', { a: 1 }, true]);
      assert.match(warnings.join('\n'), /rewritten.*nightly/);
    });
  }

  it("an operator's pause survives the new row", async (t) => {
    const { url, logger, damage } = place(t);
    const definition = withTask(workflow('etl'));
    definition.schedule('nightly', { cron: '0 2 * * *' });
    const open = (): Promise<Runner> => Runner.open(url, { workflows: [definition], logger });
    const first = await open();
    await first.schedules.pause('nightly');
    await first.close();
    damage(`update schedules set rule = '', overrides = '{'`);
    for (let again = 0; again < 2; again++) {
      const runner = await open();
      assert.equal((await runner.schedules.get('nightly')).paused, true);
      await runner.close();
    }
  });
});

test('a damaged schedule stops no other from firing, is left out of lists with a warning, and can be removed', async (t) => {
  const here = await SchedulePlace.open(t);
  await here.schedules.add('bad', { workflow: 'etl', every: '10s', overlap: 'allow' });
  await here.schedules.add('good', { workflow: 'etl', every: '10s', overlap: 'allow' });
  await here.store.write(() => run(`update schedules set rule = '{' where name = 'bad'`));
  await here.loop();
  await here.clock.advance('35s');
  assert.deepEqual(await here.started(), ['01-01T00:00:10', '01-01T00:00:20', '01-01T00:00:30']);
  assert.ok(here.logged.some(({ level, message }) => level === 'error' && /cannot be fired here/.test(message)));
  assert.deepEqual(
    (await here.schedules.list()).map(({ name }) => name),
    ['good'],
  );
  const damaged = { code: 'ROW_DAMAGED', message: /rule of schedule 'bad' of operator is damaged/ };
  await assert.rejects(here.schedules.get('bad'), damaged);
  await assert.rejects(here.schedules.pause('bad'), damaged);
  await assert.rejects(here.schedules.update('bad', { every: '1m' }), damaged);
  assert.equal((await here.schedules.stats({ since: '1h' })).total, 3);
  await here.schedules.remove('bad');
  await here.schedules.add('bad', { workflow: 'etl', every: '10s' });
  assert.equal((await here.schedules.list()).length, 2);
});

/** Three executions that have ended, and a client. */
async function ended(t: TestContext): Promise<Place & { readonly client: Client; readonly ids: readonly string[] }> {
  const here = place(t);
  const { url, logger } = here;
  const etl = workflow('etl');
  const load = etl.task('load', ({ log }) => {
    log.info('one', { n: 1 });
    log.info('two', { n: 2 });
    return { rows: 3 };
  });
  etl.returns(load);
  const runner = await Runner.open(url, { workflows: [etl], logger });
  const ids: string[] = [];
  for (let n = 0; n < 3; n++) ids.push((await runner.execute(etl, { n }, { tags: { n: String(n) } })).executionId);
  await runner.close();
  const client = await Client.open(url, { logger });
  t.after(() => client.close());
  return { ...here, client, ids };
}

describe('a damaged row of an execution', () => {
  for (const [column, get] of [
    ['input', /the input of execution \S+ is damaged/],
    ['output', /the output of execution \S+ is damaged/],
    ['tags', /the list of tags of execution \S+ is damaged/],
    ['error', /the error of execution \S+ is damaged/],
  ] as const) {
    it(`${column} that is cut is an error with a code and hides no other execution`, async (t) => {
      const { client, ids, damage, warnings } = await ended(t);
      damage(`update executions set ${column} = '{"a"' where id = '${ids[1]}'`);
      await assert.rejects(client.executions.get(ids[1]!), { code: 'ROW_DAMAGED', message: get });
      const { items } = await client.executions.list();
      // a list shows neither input nor output
      const shown = column === 'error' ? [ids[2], ids[0]] : [ids[2], ids[1], ids[0]];
      assert.deepEqual(
        items.map(({ id }) => id),
        shown,
      );
      assert.equal(/skipped/.test(warnings.join()), column === 'error');
      assert.equal((await client.executions.events(ids[1]!)).at(-1)?.type, 'execution.completed');
      if (column !== 'output') return;
      await assert.rejects(client.handle(ids[1]!).result(), { code: 'ROW_DAMAGED', message: get });
    });
  }

  it('a page whose last rows are damaged leads to the next one', async (t) => {
    const { client, ids, damage } = await ended(t);
    damage(`update executions set error = '{' where id in ('${ids[1]}', '${ids[2]}')`);
    const seen: string[] = [];
    let after: string | null | undefined;
    for (let pages = 0; after !== null; pages++) {
      assert.ok(pages < 4);
      const page = await client.executions.list({ limit: 1, ...(after === undefined ? {} : { after }) });
      seen.push(...page.items.map(({ id }) => id));
      after = page.next;
    }
    assert.deepEqual(seen, [ids[0]]);
  });

  it('a task with an output that is cut is named', async (t) => {
    const { client, ids, damage } = await ended(t);
    damage(`update task_executions set output = '{' where execution_id = '${ids[0]}'`);
    const damaged = { code: 'ROW_DAMAGED', message: /the output of task 'load' of execution \S+ is damaged/ };
    await assert.rejects(client.executions.get(ids[0]!), damaged);
    await assert.rejects(client.handle(ids[0]!).result(), damaged);
    assert.equal((await client.executions.get(ids[1]!)).tasks.length, 1);
  });

  it('an event or a log line that is cut is left out with a warning, and hides no other', async (t) => {
    const { client, ids, damage, warnings } = await ended(t);
    const [id] = ids;
    const all = await client.executions.events(id!);
    damage(`update events set data = '{' where execution_id = '${id}' and seq = 2`);
    damage(`update logs set data = '{' where execution_id = '${id}' and n = (select min(n) from logs)`);
    const rest = all.map(({ seq }) => seq).filter((seq) => seq !== 2);
    assert.deepEqual(
      (await client.executions.events(id!)).map(({ seq }) => seq),
      rest,
    );
    const watched: number[] = [];
    for await (const { seq } of client.executions.watch(id!)) watched.push(seq);
    assert.deepEqual(watched, rest);
    assert.deepEqual(
      (await client.executions.logs(id!)).map(({ message }) => message),
      ['two'],
    );
    assert.match(warnings.join('\n'), /skipped.*event 2 of execution/);
    assert.match(warnings.join('\n'), /skipped.*log line .* of task 'load' of execution/);
  });

  it('an input that is cut fails its execution with the code, and no other', async (t) => {
    const { url, logger, damage } = place(t);
    const etl = workflow('etl');
    etl.returns(etl.task('read', { retry: { attempts: 1 } }, ({ input }) => input));
    await using client = await Client.open(url, { logger });
    const bad = await client.start(etl, { n: 1 });
    const good = await client.start(etl, { n: 2 });
    damage(`update executions set input = '{' where id = '${bad.id}'`);
    await using runner = await Runner.open(url, { workflows: [etl], logger });
    assert.deepEqual((await runner.handle(good.id).result()).output, { n: 2 });
    const outcome = await runner.handle(bad.id).outcome();
    assert.deepEqual([outcome.status, Reflect.get(outcome, 'error')?.code], ['failed', 'ROW_DAMAGED']);
  });
});

test('a damaged event of the registry log hides no other, and verify names it', async (t) => {
  const { url, registry, logger, damage } = place(t);
  await using client = await Client.open(url, { registry, logger });
  await register(client, 'one');
  await register(client, 'two');
  damage(`update registry_events set after = '{' where n = 1`);
  assert.deepEqual(
    (await client.registry.events()).map(({ n }) => n),
    [1, 2, 3, 4],
  );
  assert.equal((await client.registry.verify()).problems[0]?.what, 'event 1');
});

test('a runner whose row has a damaged list of queues is declared dead like any other', async (t) => {
  const { url, logger, damage } = place(t);
  await (await Client.open(url, { logger })).close();
  damage(`insert into runners (id, name, host, pid, dead, queues, slots, registered_at)
    values ('gone', 'gone', 'elsewhere', 1, 0, '[', 0, 0)`);
  damage(`insert into runner_leases (runner, lease_until, renewed_at) values ('gone', 1, 0)`);
  const etl = withTask(workflow('etl'));
  await using runner = await Runner.open(url, { workflows: [etl], logger });
  await runner.execute(etl);
});

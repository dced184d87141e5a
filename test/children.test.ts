import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Client, Runner, settled, unchecked, workflow } from '../src/index.ts';
import type { ExecutionSummary, ListOptions, Page } from '../src/index.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { endAll, runCli } from './cli/run-cli.ts';

const k = workflow('kid', { input: unchecked<{ n: number }>() });
const kid = k.returns(
  k.task('look', { retry: { attempts: 1 } }, ({ input }) => {
    if (input.n === 3) throw new Error('three is too many');
    return input.n;
  }),
);

const m = workflow('middle');
const middle = m.returns(m.child('grandchild', kid, { input: () => ({ n: 0 }) }));

/** Six children, one after the other: one of them fails, and one has a child of its own. */
const p = workflow('parent');
const one = p.child('one', kid, { input: () => ({ n: 1 }) });
const two = p.child('two', kid, { needs: { one }, input: () => ({ n: 2 }) });
const three = p.child('three', kid, { needs: { two }, input: () => ({ n: 3 }) });
const four = p.child('four', middle, { needs: { three: settled(three) }, input: () => ({}) });
const five = p.child('five', kid, { needs: { four }, input: () => ({ n: 5 }) });
const parent = p.returns(p.child('six', kid, { needs: { five }, input: () => ({ n: 6 }) }));

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Each page of a list, one after the other. */
async function pagesOf(client: Client, options: ListOptions): Promise<readonly (readonly ExecutionSummary[])[]> {
  const pages: (readonly ExecutionSummary[])[] = [];
  for (let next: string | null | undefined; next !== null;) {
    const page: Page<ExecutionSummary> = await client.executions.list(
      next === undefined ? options : { ...options, after: next },
    );
    pages.push(page.items);
    next = page.next;
  }
  return pages;
}

const idsOf = (items: readonly ExecutionSummary[]): readonly string[] => items.map(({ id }) => id);

function suite(name: string, databaseOf: (t: Cleanup) => string): void {
  describe(`interfaces.md, TypeScript: run: executions.list: the children of an execution, ${name}`, () => {
    const cleanups: (() => Promise<void> | void)[] = [];
    const place: Cleanup = { after: (act) => void cleanups.push(act) };
    let client: Client;
    let database: string;
    let id: string;
    let children: readonly ExecutionSummary[];

    before(async () => {
      database = databaseOf(place);
      const runner = await Runner.open(database, { workflows: [parent, middle, kid], logger: silent });
      release(place, () => runner.close());
      ({ executionId: id } = await runner.execute(parent));
      await runner.execute(parent); // another parent has children too
      await runner.execute(kid, { n: 7 });
      client = await Client.open(database);
      release(place, () => client.close());
      const { items } = await client.executions.list({ limit: 1000 });
      children = items.filter((item) => item.parent?.id === id);
    });
    after(async () => {
      endAll();
      for (const act of cleanups) await act();
    });

    it('the list shows each child with the task that started it, in the usual order, without grandchildren', async () => {
      assert.deepEqual(
        new Set(children.map((item) => item.parent?.task)),
        new Set(['one', 'two', 'three', 'four', 'five', 'six']),
      );
      assert.equal(children.length, 6);
      assert.deepEqual((await client.executions.list({ parent: id })).items, children);
      const [grandchild, ...more] = (
        await client.executions.list({ parent: children.find(({ workflow: name_ }) => name_ === 'middle')!.id })
      ).items;
      assert.deepEqual([grandchild?.workflow, grandchild?.parent?.task, more], ['kid', 'grandchild', []]);
      assert.deepEqual(await client.executions.list({ parent: grandchild!.id }), { items: [], next: null });
    });

    it('the list has pages', async () => {
      const pages = await pagesOf(client, { parent: id, limit: 4 });
      assert.deepEqual(pages.map(idsOf), [idsOf(children.slice(0, 4)), idsOf(children.slice(4))]);
    });

    it('the list accepts the other filters', async () => {
      const list = async (options: ListOptions): Promise<readonly string[]> =>
        idsOf((await client.executions.list({ parent: id, ...options })).items);
      const which = (so: (item: ExecutionSummary) => boolean): readonly string[] => idsOf(children.filter(so));
      assert.deepEqual(
        await list({ workflow: 'middle' }),
        which(({ workflow: name_ }) => name_ === 'middle'),
      );
      assert.deepEqual(
        await list({ status: 'failed' }),
        which((item) => item.parent?.task === 'three'),
      );
      assert.deepEqual(await list({ status: 'running' }), []);
      const since = children[2]!.createdAt;
      assert.deepEqual(
        await list({ since: new Date(since) }),
        which(({ createdAt }) => createdAt >= since),
      );
      assert.deepEqual(await list({ tags: { team: 'shop' } }), []);
    });

    it('an unknown parent has no children, an id must be a text, and another tenant sees none', async () => {
      assert.deepEqual(await client.executions.list({ parent: 'nobody' }), { items: [], next: null });
      await assert.rejects(client.executions.list({ parent: 1 as unknown as string }), { code: 'OPTION_INVALID' });
      await using stranger = await Client.open(database, { tenant: 'other' });
      assert.deepEqual(await stranger.executions.list({ parent: id }), { items: [], next: null });
    });

    it('the command line lists them', async () => {
      const printed = await runCli(tempFolder(place), [
        'execution',
        'list',
        '--parent',
        id,
        '--json',
        '--database',
        database,
      ]);
      const { items } = JSON.parse(printed.stdout) as { items: readonly { id: string; parent: object }[] };
      assert.deepEqual(
        items.map((item) => [item.id, item.parent]),
        children.map((item) => [item.id, item.parent]),
      );
    });
  });
}

suite('SQLite', (t) => `sqlite:${join(tempFolder(t), 'family.db')}`);

const server = await testPostgres();
if (typeof server === 'string') {
  describe('interfaces.md, TypeScript: run: executions.list: the children of an execution, PostgreSQL', () => {
    it('the database is PostgreSQL', (t) => t.skip(server));
  });
} else {
  suite('PostgreSQL', () => `${server.url}?schema=family_${process.pid}`);
}

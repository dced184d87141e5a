import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { ExecutionEvent } from '../src/index.ts';
import { tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';
import { endAll } from './cli/run-cli.ts';
import { Place } from './helping/packaged.ts';
import type { Item, RunnerProcess } from './helping/packaged.ts';

const patienceMs = 60_000;

/** Polls every few ms until a condition holds. */
async function until(so: () => boolean | Promise<boolean>): Promise<void> {
  const start = performance.now();
  while (!(await so())) {
    assert.ok(performance.now() - start < patienceMs, `not within ${patienceMs} ms: ${String(so)}`);
    await setTimeout(10);
  }
}

/** The owner of an execution, and the possible helpers. */
async function rolesOf(
  place: Place,
  id: string,
  runners: readonly RunnerProcess[],
): Promise<{ readonly owner: RunnerProcess; readonly helpers: readonly RunnerProcess[] }> {
  let owner: RunnerProcess | undefined;
  await until(async () => {
    const { runner } = await place.client.executions.get(id);
    owner = runners.find((one) => one.id === runner);
    return owner !== undefined;
  });
  return { owner: owner!, helpers: runners.filter((one) => one !== owner) };
}

const isOfHelper = ({ type, data }: ExecutionEvent): boolean =>
  type === 'task.started' && data !== null && Object.hasOwn(data as object, 'helper');

function isWhole(output: readonly Item[], items: number): void {
  assert.deepEqual(
    output.map(({ item, index }) => [item, index]),
    Array.from({ length: items }, (_, i) => [i, i]),
  );
}

/** The number of items that each runner has completed. */
function sharesOf(output: readonly Item[], runners: readonly RunnerProcess[]): readonly number[] {
  const parts = Map.groupBy(output, ({ runner }) => runner);
  return runners.map(({ pid }) => parts.get(pid)?.length ?? 0);
}

type DatabaseOf = (t: Cleanup) => string;

/** A package's map is shared like one of embedded functions; its items run in processes of their current runner. */
function suite(name: string, databaseOf: DatabaseOf, more?: (databaseOf: DatabaseOf) => void): void {
  describe(`durability.md, helpers: a package on several runners, ${name}`, () => {
    after(endAll);

    it('every item of a wide map runs once and each runner runs some of them', async (t) => {
      const place = await Place.open(t, databaseOf(t));
      const runners = await Promise.all([8, 8, 8].map((slots) => place.openRunner(slots)));
      const items = 400;
      const output = await (await place.start({ items, ms: 60 })).output;
      isWhole(output, items);
      assert.ok(output.every(({ attempt }) => attempt === 1));
      assert.deepEqual(
        place.counts(items),
        Array.from({ length: items }, () => 1),
      );
      const shares = sharesOf(output, runners);
      t.diagnostic(shares.join(' '));
      for (const share of shares) assert.ok(share >= items / 10, shares.join(' '));
      assert.equal(new Set(output.map(({ pid }) => pid)).size, 3, 'one process of the package in each runner');
    });

    it('a killed helper repeats only its running items, with the steps they had recorded', async (t) => {
      const place = await Place.open(t, databaseOf(t));
      const runners = await Promise.all([4, 4, 4].map((slots) => place.openRunner(slots)));
      const items = 200;
      const { id, output: whole } = await place.start({ items, ms: 150 });
      const { helpers } = await rolesOf(place, id, runners);
      const [victim] = helpers as [RunnerProcess];
      await until(() => place.runs.filter(({ runner }) => runner === victim.pid).length >= 12);
      await victim.kill();
      const output = await whole;
      isWhole(output, items);
      const again = output.filter(({ attempt }) => attempt > 1);
      t.diagnostic(`${again.length} again of ${sharesOf(output, runners).join(' ')}`);
      assert.ok(again.length > 0 && again.length <= 4, `${again.length} were cut`);
      // an item that was taken and not begun has no step to remember
      const begun = new Set(place.runs.filter(({ runner }) => runner === victim.pid).map(({ item }) => item));
      const cut = new Set(again.map(({ item }) => item).filter((item) => begun.has(item)));
      assert.ok(cut.size > 0, 'some had begun');
      for (const { item, runner, first } of again)
        assert.ok(first === victim.pid || (first === runner && !cut.has(item)), `the step of item ${item}`);
      for (const [item, count] of place.counts(items).entries())
        assert.equal(count, cut.has(item) ? 2 : 1, `item ${item} ran ${count} times`);
      const events = await place.client.executions.events(id);
      assert.ok(events.some(isOfHelper));
      assert.ok(!events.some(({ type }) => type === 'task.retrying'), 'no attempt is charged');
    });

    more?.(databaseOf);
  });
}

/** Properties that hold on every database. */
function losses(databaseOf: DatabaseOf): void {
  it('a helper takes over from a killed owner, and completed items do not run again', async (t) => {
    const place = await Place.open(t, databaseOf(t));
    const runners = await Promise.all([4, 4].map((slots) => place.openRunner(slots)));
    const items = 100;
    const { id, output: whole } = await place.start({ items, ms: 150 });
    const { owner, helpers } = await rolesOf(place, id, runners);
    await until(() => place.runs.length >= 40);
    await owner.kill();
    const output = await whole;
    isWhole(output, items);
    const shares = sharesOf(output, [owner, ...helpers]);
    t.diagnostic(shares.join(' '));
    assert.ok(
      shares.every((share) => share > 0),
      shares.join(' '),
    );
    const counts = place.counts(items);
    assert.ok(
      counts.every((count) => count === 1 || count === 2),
      counts.join(' '),
    );
    // items that ran when their owner died: here, at the helper, and ended ones that the owner did not know of
    assert.ok(counts.filter((count) => count === 2).length <= 16, counts.join(' '));
  });

  it('an item that ends its process charges no item beside it, and the map completes', async (t) => {
    const place = await Place.open(t, databaseOf(t));
    const runners = await Promise.all([4, 4].map((slots) => place.openRunner(slots)));
    const items = 60;
    const { id, output: whole } = await place.start({ items, ms: 100, fatal: 30 });
    const output = await whole;
    isWhole(output, items);
    const again = output.filter(({ attempt }) => attempt > 1);
    t.diagnostic(`${again.length} again of ${sharesOf(output, runners).join(' ')}`);
    assert.ok(again.length <= 4 && again.some(({ item }) => item === 30), 'only the items of one process run again');
    const events = await place.client.executions.events(id);
    const retried = events.filter(({ type }) => type === 'task.retrying').map(({ item }) => item);
    assert.ok(
      retried.every((item) => item === 30),
      `charged: ${retried.join(' ')}`,
    );
  });
}

suite('SQLite', (t) => `sqlite:${join(tempFolder(t), 'shared.db')}`);

const server = await testPostgres();
let schemas = 0;
if (typeof server === 'string') {
  describe('durability.md, helpers: a package on several runners, PostgreSQL', () => {
    it('two runners share a wide map', (t) => t.skip(server));
  });
} else {
  suite('PostgreSQL', () => `${server.url}?schema=packaged_${process.pid}_${schemas++}`, losses);
}

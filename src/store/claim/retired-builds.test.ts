import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { release } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { sampleWorkflow } from '../../testing/sample-package.ts';
import { sampleExecution, sampleRunner } from '../../testing/samples.ts';
import { postgresDialect, sqliteDialect } from '../dialect.ts';
import { openStore } from '../open.ts';
import { retiredBuildsText } from '../runners/renewal.ts';
import { run } from '../script.ts';
import type { Dialect, Script, SqlValue } from '../script.ts';
import type { Store } from '../store.ts';
import { executionsOnRetiredBuilds } from './retired-builds.ts';

/** Old definitions, each with ended executions, and executions that wait under build ids of another service. */
const definitions = 300;
const endedOfEach = 20;
const foreign = 2000;

interface Place {
  readonly store: Store;
  readonly schema: string;
}

/** The query plan of a statement, as each database reports it. */
interface Explained {
  readonly dialect: Dialect;
  readonly explain: string;
  /** The reads of `executions` that use no index by build id, one text each. */
  readonly slow: (plan: readonly Record<string, SqlValue>[]) => readonly string[];
}

const sqlite: Explained = {
  dialect: sqliteDialect,
  explain: 'explain query plan ',
  slow: (plan) =>
    plan
      .map(({ detail }) => String(detail))
      .filter((detail) => /\b(executions|e)\b/.test(detail) && !/build_id[=>]/.test(detail)),
};

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Cond'?: string;
  readonly Plans?: readonly PlanNode[];
}

function nodesOf(node: PlanNode): readonly PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}

const postgres: Explained = {
  dialect: postgresDialect,
  explain: 'explain (format json) ',
  slow: (plan) => {
    const [root] = plan[0]!['QUERY PLAN'] as unknown as readonly { readonly Plan: PlanNode }[];
    return nodesOf(root!.Plan)
      .filter((node) => node['Relation Name'] === 'executions' && node['Index Cond']?.includes('build_id') !== true)
      .map((node) => JSON.stringify(node));
  },
};

function* written(dialect: Dialect): Script<void> {
  const rows = { codes: [] as string[], executions: [] as (readonly SqlValue[])[] };
  const add = (id: string, workflow: string, code: string, status: string): void => {
    rows.executions.push([id, workflow, code, status, status === 'pending' ? '' : '1']);
  };
  for (let d = 0; d < definitions; d++) {
    rows.codes.push(`embedded/w/${d}`);
    for (let i = 0; i < endedOfEach; i++) add(`ended-${d}-${i}`, 'w', `embedded/w/${d}`, 'completed');
    if (d % 100 === 0) for (let i = 0; i < 3; i++) add(`stray-${d}-${i}`, 'w', `embedded/w/${d}`, 'pending');
  }
  for (let i = 0; i < foreign; i++) add(`foreign-${i}`, 'other', 'embedded/other/1', 'pending');
  const spec = JSON.stringify(sampleWorkflow('w'));
  yield* run(
    `insert into builds (build_id, workflow, spec, written_at) select value, 'w', $2, 1 from (${dialect.strings('$1')}) c`,
    JSON.stringify(rows.codes),
    spec,
  );
  yield* run(
    `insert into executions (id, tenant, workflow, build_id, status, epoch, created_at, input, input_parsed, root_id, ended_at, limit_key)
     select c0, 'default', c1, c2, c3, 0, 1, '1', 1, c0, cast(nullif(c4, '') as bigint), case when c0 like 'stray-200%' then 'k' end
     from (${dialect.fields('$1', 5)}) r`,
    JSON.stringify(rows.executions),
  );
  yield* run(
    `insert into builds (build_id, workflow, spec, written_at) values ('embedded/other/1', 'other', $1, 1), ('embedded/w/new', 'w', $1, 1)`,
    spec,
  );
}

/**
 * Looks for executions of retired builds as a runner with the newest definition; returns them and the number of
 * statements.
 */
async function look(
  store: Store,
  { explain, slow }: Explained,
): Promise<{ readonly found: readonly string[]; readonly statements: number; readonly slow: readonly string[] }> {
  return store.read(function* (tx) {
    const script = executionsOnRetiredBuilds(tx, ['embedded/w/new'], 100);
    const reads: string[] = [];
    let statements = 0;
    let step = script.next();
    while (step.done !== true) {
      const { text, params } = step.value;
      statements++;
      const { rows } = yield { text: explain + text, params };
      if (text.includes('executions')) reads.push(...slow(rows));
      step = script.next(yield step.value);
    }
    return { found: step.value.map(({ id }) => id), statements, slow: reads };
  });
}

function suite(name: string, explained: Explained, open: (t: Cleanup) => Promise<Place>): void {
  describe(`executions of older definitions, among many: ${name}`, () => {
    for (const analysed of [false, true]) {
      it(`the index of pending executions finds them, in as many statements for 300 definitions as for one (${analysed ? 'analysed' : 'never analysed'})`, async (t) => {
        const { store, schema } = await open(t);
        await store.write(() => written(explained.dialect));
        if (analysed) await store.write(() => run(`analyze ${schema}.executions`));
        const { found, statements, slow } = await look(store, explained);
        const ids = [0, 100, 200].flatMap((d) => [0, 1, 2].map((i) => `stray-${d}-${i}`));
        assert.deepEqual(found.toSorted(), ids);
        assert.deepEqual(slow, []);
        assert.ok(statements <= 4, `${statements} statements`);
        const sign = await store.read(function* () {
          const text = `${explained.explain}select exists (${retiredBuildsText(explained.dialect, '$1')}) as strays`;
          return (yield { text, params: ['["embedded/w/new"]'] }).rows;
        });
        assert.deepEqual(explained.slow(sign), []);
      });
    }

    it("a renewal lists those of the runner's own workflows that no living runner can run, and no others", async (t) => {
      const { store } = await open(t);
      const spec = sampleWorkflow('w');
      const codes = ['embedded/w/old', 'embedded/w/new', 'embedded/w/beside', 'embedded/other/1'];
      for (const code of codes) {
        const workflow = code.split('/')[1]!;
        await store.writeDefinitions([{ workflow, buildId: code, spec: { ...spec, name: workflow } }]);
      }
      await store.registerRunner(sampleRunner('r1', { buildIds: ['embedded/w/new'] }));
      await store.registerRunner(sampleRunner('r2', { buildIds: ['embedded/w/beside'] }));
      const told = async (): Promise<boolean> =>
        (await store.renew({ runner: 'r1', leaseMs: 60_000, buildIds: ['embedded/w/new', 'sha256:p'] }))
          .hasRetiredBuilds;
      await store.createExecutions([
        sampleExecution({ workflow: 'other', buildId: 'embedded/other/1' }),
        sampleExecution({ buildId: 'embedded/w/new' }),
        sampleExecution({ buildId: 'embedded/w/beside', limitKey: 'k' }),
        sampleExecution({ buildId: 'sha256:gone', workflow: 'w' }),
      ]);
      assert.equal(await told(), false);
      assert.deepEqual(await store.executionsOnRetiredBuilds(['embedded/w/new'], 100), []);
      await store.removeRunner('r2');
      assert.equal(await told(), true);
      const [beside] = await store.executionsOnRetiredBuilds(['embedded/w/new'], 100);
      assert.equal(beside!.buildId, 'embedded/w/beside');
      assert.equal(await store.moveToBuild([beside!.id], 'embedded/w/beside', 'embedded/w/new'), 1);
      assert.equal(await told(), false);
    });
  });
}

suite('SQLite', sqlite, async (t) => {
  const store = await openStore('sqlite::memory:');
  release(t, () => store.close());
  return { store, schema: 'main' };
});

const server = await testPostgres();
let schemas = 0;
if (typeof server === 'string') {
  describe('executions of older definitions, among many: PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  after(() => server.stop());
  suite('PostgreSQL', postgres, async (t) => {
    const schema = `strays_${process.pid}_${schemas++}`;
    const store = await openStore(`${server.url}?schema=${schema}`);
    release(t, () => store.close());
    return { store, schema };
  });
}

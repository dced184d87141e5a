import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { testPostgres } from '../src/testing/postgres-server.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import type { Client } from '../src/index.ts';
import { VersionPlace } from './versions/place.ts';

/** A workflow `t` whose second task fails in some versions; `before` stands before it, `needs` are its needs. */
function source(ends: string, { before = '', needs = '{ a }' }: { before?: string; needs?: string } = {}): string {
  return `export const t = workflow('t');
let runs = 0;
const a = t.task('a', () => ++runs);
${before}
const b = t.task('b', { needs: ${needs}, retry: { attempts: 1 } }, ({ needs }) => { ${ends} });
t.task('c', { needs: { b } }, ({ needs }) => needs.b);
t.returns(b);`;
}

const fails = source("throw new Error('the bug');");
const works = source('return `${needs.a} fixed`;');

async function failed(client: Client): Promise<string> {
  const handle = await client.start('p/t');
  assert.equal((await handle.outcome()).status, 'failed');
  return handle.id;
}

async function versionOf(client: Client, id: string): Promise<string | null> {
  return (await client.executions.get(id)).version;
}

function suite(name: string, open: (t: Cleanup) => VersionPlace): void {
  describe(`registry.md, Hot swap: an execution that failed continues on another version: ${name}`, () => {
    it('a retry with a version keeps the completed tasks and runs the rest with the code of that version', async (t) => {
      const place = open(t);
      const runner = await place.runner();
      await runner.registry.register(await place.pack('p', '1.0.0', fails));
      const id = await failed(runner);
      const other = await failed(runner);
      await runner.registry.register(await place.pack('p', '1.0.1', works));
      const client = await place.client();
      assert.deepEqual(await client.retry(id, { version: '1.0.1' }), { id, status: 'pending' });
      assert.equal((await client.handle(id).result()).output, '1 fixed');
      assert.equal(await versionOf(client, id), '1.0.1');
      const retried = (await client.executions.events(id)).find(({ type }) => type === 'execution.retried');
      assert.deepEqual(retried?.data, { from: '1.0.0', to: '1.0.1' });
      await client.registry.unregister('p', '1.0.0');
      await assert.rejects(client.retry(other), { code: 'PACKAGE_NOT_FOUND' });
      await client.retry(other, { live: true });
      assert.equal((await client.handle(other).result()).output, '2 fixed');
    });

    it('a fork with a version reuses what precedes its task; a version that no channel has is loaded for it', async (t) => {
      const place = open(t);
      const runner = await place.runner();
      await runner.registry.register(await place.pack('p', '1.0.0', fails));
      const id = await failed(runner);
      await runner.registry.publish(await place.pack('p', '1.0.1', works));
      const client = await place.client();
      const fork = await client.fork(id, { from: 'b', version: '1.0.1' });
      assert.equal((await fork.result()).output, '1 fixed');
      assert.deepEqual([await versionOf(client, fork.id), await versionOf(client, id)], ['1.0.1', '1.0.0']);
    });

    it('a version that differs in what has begun is refused with the difference; what never began may differ', async (t) => {
      const place = open(t);
      const runner = await place.runner();
      await runner.registry.register(await place.pack('p', '1.0.0', fails));
      const id = await failed(runner);
      const [asked, added, missing] = [
        source('return needs.x;', { before: "const x = t.task('x', () => 0);", needs: '{ a, x }' }),
        source('return needs.a;', { before: "t.sleep('nap', { for: 10 });" }).replace("t.task('c'", "t.task('d'"),
        source('return 1;').replace("t.task('a', ", "t.task('z', "),
      ];
      for (const [at, body] of [asked, added, missing].entries()) {
        await runner.registry.publish(await place.pack('p', `2.${at}.0`, body));
      }
      await assert.rejects(runner.retry(id, { version: '2.0.0' }), {
        code: 'EXECUTION_STATE',
        message: /cannot continue as p v2\.0\.0, which differs from v1\.0\.0 .*: 'b' needs 'a' and 'x', not 'a'$/,
      });
      await assert.rejects(runner.retry(id, { version: '2.2.0' }), {
        code: 'EXECUTION_STATE',
        message: /'a' is missing/,
      });
      assert.equal(await versionOf(runner, id), '1.0.0');
      const fork = await runner.fork(id, { from: 'b', version: '2.0.0' });
      assert.equal((await fork.result()).output, 0, 'the task that differs runs again in a fork');
      await runner.retry(id, { version: '2.1.0' });
      assert.equal((await runner.handle(id).result()).output, 1);
      const { tasks } = await runner.executions.get(id);
      assert.deepEqual(tasks.map(({ name: task }) => task).toSorted(), ['a', 'b', 'd', 'nap']);
    });

    it('a version that is not there, takes no executions, or has no such workflow is refused', async (t) => {
      const place = open(t);
      const runner = await place.runner();
      await runner.registry.register(await place.pack('p', '1.0.0', fails));
      const id = await failed(runner);
      await runner.registry.publish(await place.pack('p', '1.0.1', works));
      await runner.registry.yank('p', '1.0.1');
      await runner.registry.publish(await place.pack('p', '1.0.2', works.replaceAll("'t'", "'u'")));
      await assert.rejects(runner.retry(id, { version: '1.0.1' }), { code: 'PACKAGE_UNAVAILABLE' });
      await assert.rejects(runner.fork(id, { from: 'b', version: '1.0.1' }), { code: 'PACKAGE_UNAVAILABLE' });
      await assert.rejects(runner.retry(id, { version: '1.0.2' }), { code: 'WORKFLOW_NOT_FOUND' });
      await assert.rejects(runner.retry(id, { version: '7.0.0' }), { code: 'PACKAGE_NOT_FOUND' });
      await assert.rejects(runner.retry(id, { version: '1.0.1', live: true }), {
        code: 'OPTION_INVALID',
        option: 'live',
      });
      await assert.rejects(runner.retry(id, { version: 1 as never }), { code: 'OPTION_INVALID', option: 'version' });
      assert.equal(await versionOf(runner, id), '1.0.0');
    });
  });

  describe(`registry.md, Names: a start on a version, a digest or a channel: ${name}`, () => {
    it('the execution keeps the version that it was started on, loaded only for it', async (t) => {
      const place = open(t);
      const runner = await place.runner();
      const answers = (text: string): string => `export const w = workflow('w');
w.returns(w.task('a', () => '${text}'));`;
      await runner.registry.register(await place.pack('@team/p', '1.0.0', answers('one')));
      const two = await runner.registry.publish(await place.pack('@team/p', '2.0.0-beta.1', answers('two')));
      await runner.registry.register(await place.pack('@team/p', '3.0.0', answers('three')), { channel: 'canary' });
      const client = await place.client();
      const outputs: unknown[] = [];
      for (const at of ['1.0.0', '2.0.0-beta.1', two.digest, two.digest.slice(0, 19), 'canary', 'live']) {
        outputs.push((await client.execute(`@team/p@${at}/w`)).output);
      }
      assert.deepEqual(outputs, ['one', 'two', 'two', 'two', 'three', 'one']);
      assert.equal((await client.workflows.get('@team/p@canary/w')).version, '3.0.0');
      await assert.rejects(client.start('@team/p@nightly/w'), {
        code: 'PACKAGE_NOT_FOUND',
        message: "package @team/p has no channel 'nightly'; its channels: 'canary', 'live'",
      });
      await assert.rejects(client.start('@team/p@9.0.0/w'), { code: 'PACKAGE_NOT_FOUND', version: '9.0.0' });
      await assert.rejects(client.start('@team/p@1.0.0/v'), { code: 'WORKFLOW_NOT_FOUND', near: ['@team/p@1.0.0/w'] });
      await assert.rejects(client.start('@team/p@../w'), { code: 'PACKAGE_NOT_FOUND' });
      await client.registry.yank('@team/p', '1.0.0');
      await assert.rejects(client.start('@team/p@1.0.0/w'), { code: 'PACKAGE_UNAVAILABLE' });
    });

    it('a channel that goes back from a version that does not load leaves executions on that version by name', async (t) => {
      const place = open(t);
      const client = await place.client();
      const answer = "export const w = workflow('w');\nw.returns(w.task('a', () => 1));";
      await client.registry.register(await place.pack('p', '1.0.0', answer));
      const runner = await place.runner();
      assert.equal((await runner.execute('p/w')).output, 1);
      await runner.close();
      const isolated =
        "if (process.argv.length === 0 || process.env['HOME'] === undefined) throw new Error('no service');\n";
      await client.registry.register(await place.pack('p', '2.0.0', `${isolated}${answer}`));
      const [live, named] = [await client.start('p/w'), await client.start('p@2.0.0/w')];
      await place.runner();
      assert.equal((await live.result()).output, 1);
      assert.equal(await versionOf(client, live.id), '1.0.0');
      const { status, version } = await client.executions.get(named.id);
      assert.deepEqual([status, version], ['pending', '2.0.0']);
    });
  });
}

suite('SQLite', (t) => new VersionPlace(t));

const server = await testPostgres();
if (typeof server === 'string') {
  describe('versions on PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  after(() => server.stop());
  let schemas = 0;
  suite('PostgreSQL', (t) => new VersionPlace(t, `${server.url}?schema=versions_${process.pid}_${schemas++}`));
}

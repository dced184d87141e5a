import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { startedServer, testPostgres } from '../../testing/postgres-server.ts';
import { openStore } from '../open.ts';
import { postgresPlace } from './url.ts';

const server = await testPostgres();

describe('postgresql.md, URL: the schema', () => {
  for (const name of ['a', 'my-app', 'a.b', 'Café', '"quoted"', "o'clock", '1st', 'with space', '$1', 'é'.repeat(31)]) {
    it(`the name ${name} is accepted`, () => {
      assert.equal(postgresPlace(`postgres://h/db?schema=${encodeURIComponent(name)}`).schema, name);
    });
  }

  for (const [name, reason] of [
    ['', /'' .* has 0 bytes/],
    ['a'.repeat(64), /has 64 bytes/],
    ['é'.repeat(32), /has 64 bytes/],
    ['a\0b', /contains a NUL/],
    ['pg_mine', /begins with 'pg_'/],
    ['information_schema', /belongs to the server/],
  ] as const) {
    it(`the name ${JSON.stringify(name)} is refused with its reason`, () => {
      const url = `postgres://h/db?schema=${encodeURIComponent(name)}`;
      assert.throws(() => postgresPlace(url), { code: 'DATABASE_URL_INVALID', message: reason });
    });
  }

  if (typeof server === 'string') {
    it('the tests have a server', (t) => t.skip(server));
    return;
  }
  after(() => server.stop());

  for (const name of ['my-app.V1', '"café\'s" $1', 'é'.repeat(31)]) {
    it(`a database has its tables in the schema ${name}`, async (t) => {
      const url = `${server.url}?schema=${encodeURIComponent(name)}`;
      const store = await openStore(url);
      t.after(() => store.close());
      const client = new Client(server.url);
      await client.connect();
      const text = 'select count(*)::int as tables from pg_tables where schemaname = $1';
      const { rows } = await client.query<{ tables: number }>(text, [name]);
      await client.end();
      assert.ok(rows[0]!.tables > 10);
      await (await openStore(url)).close();
    });
  }
});

describe('postgresql.md, URL: a server on a UNIX socket', { skip: process.platform === 'win32' }, () => {
  const rows = [
    ['postgres://ada@/work?host=/run/pg', 'postgres:///work?host=%2Frun%2Fpg&user=ada'],
    ['postgres://a%40b:p%3A%2F@/work?host=/run/pg', 'postgres:///work?host=%2Frun%2Fpg&user=a%40b&password=p%3A%2F'],
    ['postgres://ada:x@/work?user=bob&password=y', 'postgres:///work?user=bob&password=y'],
    ['postgres:///work?host=/run/pg', 'postgres:///work?host=%2Frun%2Fpg'],
  ] as const;
  for (const [url, given] of rows) {
    it(`the URL ${url} reaches the driver as ${given}`, () => {
      assert.deepEqual(postgresPlace(`${url}${url.includes('?') ? '&' : '?'}schema=s`).urls, [given]);
    });
  }

  it('a user beside an empty host opens the socket of the parameter host', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'socket-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    chmodSync(folder, 0o777); // the server runs as another user
    const own = await startedServer({ unix_socket_directories: folder });
    if (typeof own === 'string') return t.skip(own);
    t.after(() => own.remove());
    for (const user of ['postgres', 'postgres:secret']) {
      const store = await openStore(`postgres://${user}@/postgres?host=${folder}&port=${own.port}`);
      assert.deepEqual(await store.definitions(), []);
      await store.close();
    }
  });
});

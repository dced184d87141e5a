import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Client } from 'pg';
import { testPostgres } from '../../testing/postgres-server.ts';
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

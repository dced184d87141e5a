import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Client } from 'pg';
import { release } from '../../testing/engine-rig.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { openStore } from '../open.ts';

const server = await testPostgres();
const skip = typeof server === 'string' ? server : false;
const url = typeof server === 'string' ? 'postgres://nowhere' : server.url;
if (typeof server !== 'string') after(() => server.stop());

describe('interfaces.md: PostgreSQL databases that cannot be used', { skip }, () => {
  for (const encoding of ['LATIN1', 'SQL_ASCII']) {
    it(`a database in ${encoding} is refused, which keeps not every text, and nothing is written`, async (t) => {
      const name = `${encoding.toLowerCase()}_${process.pid}`;
      const admin = new Client({ connectionString: url });
      await admin.connect();
      release(t, () => admin.end());
      await admin.query(`create database ${name} encoding '${encoding}' locale 'C' template template0`);
      release(t, () => admin.query(`drop database ${name} with (force)`).then(() => undefined));
      const place = new URL(url);
      place.pathname = `/${name}`;
      await assert.rejects(openStore(place.href), {
        code: 'DATABASE_INVALID',
        message: new RegExp(`/${name} has the encoding ${encoding}.*UTF8.*create database`),
      });
      const there = new Client({ connectionString: place.href });
      await there.connect();
      release(t, () => there.end());
      const { rows } = await there.query(`select to_regnamespace('cloacina') is null as untouched`);
      assert.deepEqual(rows, [{ untouched: true }]);
    });
  }
});

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Client as Reader } from 'pg';
import { Client, Runner, workflow } from '../src/index.ts';
import { testPostgres } from '../src/testing/postgres-server.ts';

const napping = workflow('napping');
napping.task('a', () => 1);

const server = await testPostgres();
const skip = typeof server === 'string' ? server : false;
const schema = `clock_${process.pid}`;
const url = typeof server === 'string' ? '' : `${server.url}?schema=${schema}`;
if (typeof server !== 'string') after(() => server.stop());

describe('durability.md, Per database: timers and slots are judged by the clock of the database', { skip }, () => {
  for (const [who, open] of [
    ['client', () => Client.open(url)],
    ['runner', () => Runner.open(url, { workflows: [napping], lease: '10m' })],
  ] as const) {
    it(`a ${who} whose machine sets its clock starts and schedules at the right time`, async (t) => {
      await (await Runner.open(url, { workflows: [napping] })).close(); // it writes the definition
      await using client = await open();
      const reader = new Reader({ connectionString: url, options: `-c search_path=${schema}` });
      await reader.connect();
      t.after(() => reader.end());
      const wall = Date.now.bind(Date);
      let setMs = 0;
      t.mock.method(Date, 'now', () => wall() + setMs);
      for (const aheadMs of [3_600_000, -86_400_000]) {
        setMs = aheadMs;
        const { id } = await client.start(napping, {}, { startAt: '1m' });
        const { rows } = await reader.query<{ wake_at: string }>('select wake_at from executions where id = $1', [id]);
        const waits = Number(rows[0]!.wake_at) - wall();
        assert.ok(waits > 50_000 && waits <= 61_000, `${waits} ms`);
        const name = `tick${String(aheadMs)}`;
        const { next } = await client.schedules.add(name, { workflow: 'napping', every: '10s' });
        assert.ok(Math.abs(next! - wall()) <= 20_000);
        await client.schedules.remove(name);
        await client.cancel(id);
      }
    });
  }
});

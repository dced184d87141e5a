import assert from 'node:assert/strict';
import { appendFileSync, cpSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from '../../src/index.ts';
import { release, tempFolder } from '../../src/testing/engine-rig.ts';
import type { Cleanup } from '../../src/testing/engine-rig.ts';
import { startedServer } from '../../src/testing/postgres-server.ts';
import type { PostgresServer } from '../../src/testing/postgres-server.ts';
import { bundled } from '../crash/bundled.ts';
import { Random } from '../simulation/random.ts';
import { Control } from './control.ts';
import { judge, judgeDeaths, judgeTakeovers } from './judge.ts';
import { Load } from './load.ts';
import { Member } from './member.ts';
import { Storm } from './storm.ts';

const script = fileURLToPath(new URL('runner.ts', import.meta.url));
const schema = 'chaos';
/** Two on this host, one that reports another host, and one whose clock is ahead. */
const members = [{ name: 'a' }, { name: 'b' }, { name: 'far', host: 'elsewhere' }, { name: 'ahead', aheadMs: 90_000 }];
const settleMs = 60_000;

/**
 * Four runners under load in a storm of a given length, and the state of the database afterwards. The seed determines
 * the faults and the load, but not the reactions of the system.
 */
export async function chaos(t: TestContext, seed: number, seconds: number): Promise<void> {
  const server = await startedServer();
  if (typeof server === 'string') return t.skip(server);
  t.diagnostic(`seed ${seed}`);
  release(t, () => server.remove());
  const folder = tempFolder(t);
  const log = (line: string): void =>
    appendFileSync(join(folder, 'storm.log'), `${new Date().toISOString()} ${line}\n`);
  const client = await Client.open(`${server.url}?schema=${schema}`);
  release(t, () => client.close());
  const control = new Control(`${server.url}?options=-csearch_path%3D${schema}`);
  await control.query(
    'create table runs (run text primary key, execution text not null, task text not null, began timestamptz, ended timestamptz)',
  );
  const acknowledged = new Map<string, string>();
  const runners = await openMembers(t, folder, server, acknowledged);
  const random = new Random(seed);
  const load = new Load(client, random, acknowledged);
  const storm = new Storm(runners, server, control, random, log);
  try {
    await storm.rage(seconds * 1000);
    await load.end();
    await Promise.all(runners.map((runner) => runner.rest()));
    const start = performance.now();
    while ((await control.unfinished()) > 0) {
      if (performance.now() - start > settleMs)
        assert.fail(`after the storm something is left: ${await leftOver(control)}`);
      await setTimeout(100);
    }
    const exitCodes = await Promise.all(runners.map((runner) => runner.end()));
    assert.deepEqual(exitCodes, [0, 0, 0, 0], 'every runner ends on its own');
    await judgeDeaths(control, storm.deaths, storm.lateCommits);
    assert.deepEqual(
      runners.flatMap(({ faults }) => faults),
      [],
      'their own starts succeed, or the database was away',
    );
    await judge(control, acknowledged);
    judgeTakeovers(storm.takeovers);
  } catch (error) {
    throw new Error(`seed ${seed}, logs in ${keep(t, folder)}`, { cause: error });
  }
  const happened = Array.from(storm.counts, ([name, count]) => `${count} ${name}`).join(', ');
  const slowest = Math.max(0, ...storm.takeovers.filter(({ seenAtOnce }) => seenAtOnce).map(({ ms }) => ms));
  t.diagnostic(`${acknowledged.size} executions; ${happened}; dead neighbours taken over within ${slowest} ms`);
}

async function openMembers(
  t: Cleanup,
  folder: string,
  { port }: PostgresServer,
  acknowledged: Map<string, string>,
): Promise<readonly Member[]> {
  const bundle = await bundled(script, folder);
  const onStarted = (id: string, workflow: string): void => void acknowledged.set(id, workflow);
  const opened: Member[] = [];
  for (const one of members) {
    const logFile = join(folder, `${one.name}.log`);
    const member = await Member.open({ ...one, script: bundle, port, schema, logFile, onStarted });
    release(t, () => member.close());
    opened.push(member);
  }
  await Promise.all(opened.map((member) => member.start()));
  return opened;
}

async function leftOver(control: Control): Promise<string> {
  const rows = await control.query(
    `select e.id, e.workflow, e.status, e.reason, e.owner, e.epoch, e.crash_count, e.inbox_seq, e.inbox_acked, e.wake_at,
     (select json_agg(json_build_array(task, status, attempt)) from task_executions t where t.execution_id = e.id) as tasks
     from executions e where ended_at is null limit 5`,
  );
  const counts = await control.query(
    'select workflow, status, count(*)::int as count from executions where ended_at is null group by 1, 2',
  );
  return JSON.stringify({ counts, rows });
}

/** Keeps the logs of a failed run. */
function keep(t: Cleanup, folder: string): string {
  const kept = `${folder}-kept`;
  release(t, () => cpSync(folder, kept, { recursive: true }));
  return kept;
}

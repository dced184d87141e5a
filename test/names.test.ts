import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../src/index.ts';
import { ScheduleLoop } from '../src/schedule/loop.ts';
import { openStore } from '../src/store/open.ts';
import { ManualClock } from '../src/testing/clock.ts';
import { keepingLogger, release } from '../src/testing/engine-rig.ts';
import type { Cleanup, Logged } from '../src/testing/engine-rig.ts';
import type { Client } from '../src/index.ts';
import { VersionPlace } from './versions/place.ts';

/** A module with a workflow of each name, and schedules of it. */
function flows(names: readonly string[], schedules = ''): string {
  return names
    .map((name) => {
      const at = `export const ${name} = workflow('${name}');\n${name}.returns(${name}.task('a', () => '${name}'));`;
      return `${at}\n${schedules.replaceAll('FLOW', name)}`;
    })
    .join('\n');
}

interface Place {
  readonly place: VersionPlace;
  readonly clock: ManualClock;
  readonly client: Client;
}

async function open(t: Cleanup): Promise<Place> {
  const place = new VersionPlace(t);
  const clock = new ManualClock();
  return { place, clock, client: await place.client({ clock }) };
}

/** Fires the slots that are due by then. */
async function fire(t: Cleanup, { place, clock, client }: Place): Promise<void> {
  const store = await openStore(place.database, { now: () => clock.now() });
  release(t, () => store.close());
  const { promise: fired, resolve: done } = Promise.withResolvers<void>();
  const say = (): void => done();
  const logger = { debug: say, info: say, warn: say, error: say };
  const resolve = (_: string, name: string): ReturnType<Client['resolve']> => client.resolve(name);
  const options = { store, clock, logger, maxPayload: 10_000, tenants: null, resolve, notify: say };
  const loop = new ScheduleLoop(options);
  await fired;
  await loop.close();
}

describe('registry.md, Names: a schedule is bound when it is added', () => {
  it('a schedule keeps the workflow that its short name meant, whatever is registered later', async (t) => {
    const here = await open(t);
    const { place, client } = here;
    await client.registry.register(await place.pack('team-a', '1.0.0', flows(['report'])));
    const added = await client.schedules.add('hourly', { workflow: 'report', every: '1h' });
    assert.deepEqual([added.workflow, added.created], ['team-a/report', true]);
    const other = await place.pack('team-b', '1.0.0', flows(['report']));
    await client.registry.register(other, { allowAmbiguous: true });
    await assert.rejects(client.start('report'), { code: 'AMBIGUOUS_WORKFLOW' });
    await here.clock.advance('1h');
    await fire(t, here);
    const [slot] = await client.schedules.history('hourly');
    assert.equal(slot?.outcome, 'started', JSON.stringify(slot?.error));
    assert.equal((await client.executions.get(slot.executionId!)).package, 'team-a');

    const again = await client.schedules.add('hourly', { workflow: 'report', every: '1h' });
    assert.deepEqual([again.workflow, again.created], ['team-a/report', false], 'a script that adds it again');
    await assert.rejects(client.schedules.add('daily', { workflow: 'report', every: '1d' }), {
      code: 'AMBIGUOUS_WORKFLOW',
    });
    await client.schedules.update('hourly', { input: { n: 1 } });
    assert.equal((await client.schedules.get('hourly')).workflow, 'team-a/report');
    await client.schedules.update('hourly', { workflow: 'team-b/report' });
    assert.equal((await client.schedules.get('hourly')).workflow, 'team-b/report');
  });

  it('a schedule of an embedded workflow is bound to that, and a runner warns of an ambiguous name', async (t) => {
    const place = new VersionPlace(t);
    const embedded = workflow('report');
    const done = embedded.returns(embedded.task('a', () => 1));
    const first = await place.runner({ workflows: [done] });
    assert.equal(
      (await first.schedules.add('hourly', { workflow: 'report', every: '1h' })).workflow,
      'embedded/report',
    );
    const bytes = await place.pack('team-a', '1.0.0', flows(['report']));
    await assert.rejects(first.registry.register(bytes), { code: 'WORKFLOW_NAME_TAKEN' });
    await first.registry.register(bytes, { allowAmbiguous: true });
    const logged: Logged[] = [];
    await place.runner({ workflows: [done], logger: keepingLogger(logged) });
    assert.deepEqual(
      logged.filter(({ message }) => message.includes('ambiguous')).map(({ level, details }) => [level, details]),
      [['warn', { workflow: 'report', candidates: ['embedded/report', 'team-a/report'] }]],
    );
  });

  it('each slot of a schedule on a channel starts the version that the channel has then', async (t) => {
    const here = await open(t);
    const { place, client, clock } = here;
    await client.registry.register(await place.pack('p', '1.0.0', flows(['w'])));
    await client.registry.activate('p', '1.0.0', { channel: 'canary' });
    await client.schedules.add('hourly', { workflow: 'p@canary/w', every: '1h', overlap: 'allow' });
    await clock.advance('1h');
    await fire(t, here);
    await client.registry.register(await place.pack('p', '2.0.0', flows(['w'])), { channel: 'canary' });
    await clock.advance('1h');
    await fire(t, here);
    const versions: unknown[] = [];
    for (const { executionId } of await client.schedules.history('hourly')) {
      versions.push((await client.executions.get(executionId!)).version);
    }
    assert.deepEqual(versions, ['2.0.0', '1.0.0']);
  });
});

describe('scheduling.md, Adding and changing: schedules of a package', () => {
  it('the schedules of an unregistered package are gone with their history; without a live channel they are disabled', async (t) => {
    const here = await open(t);
    const { place, client, clock } = here;
    const scheduled = flows(['w'], "FLOW.schedule('tick', { every: '1h' });");
    await client.registry.register(await place.pack('p', '1.0.0', scheduled));
    await clock.advance('1h');
    await fire(t, here);
    await client.registry.deactivate('p', 'live');
    assert.deepEqual(
      (await client.schedules.list()).map(({ enabled }) => enabled),
      [false],
    );
    await client.registry.activate('p', '1.0.0');
    assert.equal((await client.schedules.get('tick')).enabled, true);
    const [slot] = await client.schedules.history('tick');
    await client.cancel(slot!.executionId!);
    await client.registry.unregister('p');
    assert.deepEqual(await client.schedules.list(), []);
    await client.registry.register(await place.pack('p', '2.0.0', scheduled));
    assert.deepEqual(await client.schedules.history('tick'), []);
  });
});

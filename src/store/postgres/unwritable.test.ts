import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { workflow } from '../../core/definition/workflow.ts';
import { systemClock } from '../../engine/clock.ts';
import { openRig } from '../../testing/engine-rig.ts';
import { postgresPlace } from '../../testing/postgres-place.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { sampleExecution, sampleTaskState, sampleTransition } from '../../testing/samples.ts';
import { UnwritableBatchError } from '../transition.ts';

/** The server takes longer than any deadline of these tests for an output of more than 8 MiB. */
const slowText = `create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return new; end $$;
  create trigger slow before insert on task_executions for each row when (length(new.output) > 8388608) execute function slow()`;
/** The deadline of an answer; a batch of 9 MiB has a tenth more. */
const deadlineMs = 700;

const server = await testPostgres();
if (typeof server === 'string') {
  describe('batches that PostgreSQL cannot take', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  const { url } = server;
  after(() => server.stop());

  describe('durability.md, A commit that cannot succeed is not repeated: values that are too large', () => {
    it('values too long for a statement are refused before anything is sent, and the others can be written', async (t) => {
      const { store } = await postgresPlace(t, url, ['r1']);
      const creates = Array.from({ length: 2 }, () => sampleExecution({ owned: true }));
      const made = creates.map((create) => sampleTransition(create.id, { create }));
      await store.commit({ runner: 'r1', lane: 0, n: 1, transitions: made });
      const [good, bad] = creates.map(({ id }, i) => {
        const output = i === 0 ? '1' : '"'.repeat(300_000_000);
        return sampleTransition(id, { tasks: [sampleTaskState('a', { output })] });
      });
      await assert.rejects(
        store.commit({ runner: 'r1', lane: 0, n: 2, transitions: [good!, bad!] }),
        UnwritableBatchError,
      );
      assert.deepEqual(await store.tasks(good!.id), []);
      await store.commit({ runner: 'r1', lane: 0, n: 3, transitions: [good!] });
      assert.equal((await store.tasks(good!.id)).length, 1);
    });

    it('a batch that the server does not take within its deadline is given up after three tries, and never written later', async (t) => {
      const { store, client } = await postgresPlace(t, url, ['r1'], { deadlineMs });
      const create = sampleExecution({ owned: true });
      await store.commit({ runner: 'r1', lane: 0, n: 1, transitions: [sampleTransition(create.id, { create })] });
      await client.query(slowText);
      const output = 'x'.repeat(9_000_000);
      const large = sampleTransition(create.id, { tasks: [sampleTaskState('a', { output })] });
      const commit = (): Promise<unknown> => store.commit({ runner: 'r1', lane: 0, n: 2, transitions: [large] });
      for (let tries = 1; tries <= 2; tries++) {
        await assert.rejects(commit(), (error) => !(error instanceof UnwritableBatchError));
      }
      await assert.rejects(commit(), UnwritableBatchError);
      await client.query('drop trigger slow on task_executions');
      await assert.rejects(commit(), UnwritableBatchError, 'its number is used up');
      assert.deepEqual(await store.tasks(create.id), []);
    });

    it('such a batch fails its own execution, and the others of its runner continue', async (t) => {
      const { store, client } = await postgresPlace(t, url, [], { deadlineMs });
      await client.query(slowText);
      const w = workflow('large');
      w.task('a', () => 'x'.repeat(9_000_000));
      const q = workflow('quick');
      q.task('a', () => 1);
      const rig = await openRig(t, { workflows: [w, q], store, clock: systemClock, maxPayload: 10_000_000 });
      const [large, quick] = await Promise.all([rig.client.start(w), rig.client.start(q)]);
      const outcome = await large.outcome();
      assert.equal(outcome.status === 'failed' && outcome.error?.code, 'STORE_REFUSED');
      assert.equal((await quick.outcome()).status, 'completed');
      assert.equal((await (await rig.client.start(q)).outcome()).status, 'completed');
    });
  });
}

import { DBOS, DBOSClient } from '@dbos-inc/dbos-sdk';
import { Countdown, times } from './peer.ts';
import type { Peer } from './peer.ts';

const queueName = 'trivial';

/** Follows the DBOS guide: a called workflow of steps, and a queue for background work. */
export async function openDbos(url: string, backlog: number): Promise<Peer> {
  const countdown = new Countdown(backlog);
  const pipeline = DBOS.registerWorkflow(
    async () => {
      const rows = await DBOS.runStep(() => Promise.resolve({ rows: 3 }), { name: 'extract' });
      const transformed = await DBOS.runStep(() => Promise.resolve(rows.rows * 2), { name: 'transform' });
      return DBOS.runStep(() => Promise.resolve({ loaded: transformed }), { name: 'load' });
    },
    { name: 'pipeline' },
  );
  DBOS.registerWorkflow(async () => Promise.resolve(countdown.ran()), { name: 'trivial' });
  const applicationVersion = '1';
  DBOS.setConfig({ name: 'bench', systemDatabaseUrl: url, applicationVersion, logLevel: 'error' });
  await DBOS.launch();
  const client = await DBOSClient.create({ systemDatabaseUrl: url });
  await times(backlog, () => client.enqueue({ workflowName: 'trivial', queueName, appVersion: applicationVersion }));
  await client.destroy();
  const from = performance.now();
  await DBOS.registerQueue(queueName);
  await countdown.done;
  return { backlogMs: performance.now() - from, pipeline: () => pipeline(), close: () => DBOS.shutdown() };
}

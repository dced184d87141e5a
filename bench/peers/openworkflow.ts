import { OpenWorkflow } from 'openworkflow';
import { BackendPostgres } from 'openworkflow/postgres';
import { Countdown, Waiting, times } from './peer.ts';
import type { Peer } from './peer.ts';

/**
 * A worker in the process. A result is polled once a second, so a pipeline counts as done when its function returns,
 * shortly before that is written.
 */
export async function openOpenWorkflow(url: string, backlog: number): Promise<Peer> {
  const countdown = new Countdown(backlog);
  const waiting = new Waiting();
  const backend = await BackendPostgres.connect(url);
  const ow = new OpenWorkflow({ backend });
  const trivial = ow.defineWorkflow({ name: 'trivial' }, () => countdown.ran());
  const pipeline = ow.defineWorkflow<{ id: number }, { loaded: number }>(
    { name: 'pipeline' },
    async ({ input, step }) => {
      const extracted = await step.run({ name: 'extract' }, () => ({ rows: 3 }));
      const transformed = await step.run({ name: 'transform' }, () => extracted.rows * 2);
      const loaded = await step.run({ name: 'load' }, () => ({ loaded: transformed }));
      waiting.ended(input.id);
      return loaded;
    },
  );
  await times(backlog, () => trivial.run());
  const from = performance.now();
  const worker = ow.newWorker({ concurrency: 32 });
  await worker.start();
  await countdown.done;
  return {
    backlogMs: performance.now() - from,
    pipeline: () => waiting.run((id) => pipeline.run({ id })),
    close: async () => {
      await worker.stop();
      await backend.stop();
    },
  };
}

import { Client, Runner, workflow } from '../../src/index.ts';
import { shapes } from '../scenarios.ts';
import { Countdown } from './peer.ts';
import type { Peer } from './peer.ts';

/** Its defaults: 64 task functions at once, ten connections. */
export async function openCloacina(url: string, backlog: number): Promise<Peer> {
  const { pipeline } = shapes();
  const countdown = new Countdown(backlog);
  const trivial = workflow('trivial');
  trivial.task('only', () => countdown.ran());
  await (await Runner.open(url, { workflows: [pipeline, trivial] })).close(); // registers the workflows
  {
    await using client = await Client.open(url);
    await client.startMany(
      'trivial',
      Array.from({ length: backlog }, () => ({})),
    );
  }
  const from = performance.now();
  const runner = await Runner.open(url, { workflows: [pipeline, trivial] });
  await countdown.done;
  return {
    backlogMs: performance.now() - from,
    pipeline: () => runner.execute(pipeline),
    close: () => runner.close(),
  };
}

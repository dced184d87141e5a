// One process of `bench/host-loop.ts`: starts pipelines at a steady rate and prints how busy its event loop was, as JSON.
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { join } from 'node:path';
import { Runner } from '../src/index.ts';
import { inFolder } from './measure.ts';
import { shapes } from './scenarios.ts';

const [perSecond, seconds] = process.argv.slice(2).map(Number) as [number, number];
const tickMs = 2;

await inFolder(async (folder) => {
  const { pipeline } = shapes();
  await using runner = await Runner.open(`sqlite:${join(folder, 'bench.db')}`, { workflows: [pipeline] });
  for (let i = 0; i < 20; i++) await runner.execute(pipeline, {});
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const before = performance.eventLoopUtilization();
  const from = performance.now();
  const running: Promise<unknown>[] = [];
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setInterval(() => {
    const due = ((performance.now() - from) / 1000) * perSecond;
    while (running.length < due) running.push(runner.execute(pipeline, {}));
    if (due >= seconds * perSecond) resolve();
  }, tickMs);
  await over;
  clearInterval(timer);
  await Promise.all(running);
  const { utilization } = performance.eventLoopUtilization(before);
  delay.disable();
  console.log(JSON.stringify({ utilization, delayP99Ms: delay.percentile(99) / 1e6, pipelines: running.length }));
});

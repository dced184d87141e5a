import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeInIsolate } from '../src/cli/describe.ts';
import type { TaskCall, TaskHost } from '../src/engine/workflow-code.ts';
import { stderrLogger } from '../src/engine/logger.ts';
import { Runner } from '../src/index.ts';
import { readArchive } from '../src/package/archive/archive.ts';
import { buildPackage } from '../src/package/pack/build.ts';
import { Isolate } from '../src/package/isolate/isolate.ts';
import { unpackPackage } from '../src/package/load/unpack.ts';
import { inFolder, median, rate } from './measure.ts';
import type { Rate } from './measure.ts';

const source = `import { workflow } from 'cloacina';
const pipeline = workflow('pipeline');
const extract = pipeline.task('extract', () => ({ rows: 3 }));
const transform = pipeline.task('transform', { needs: { extract } }, async ({ needs }) => needs.extract.rows * 2);
const load = pipeline.task('load', { needs: { transform } }, ({ needs }) => ({ loaded: needs.transform }));
export const done = pipeline.returns(load);
const single = workflow('single');
single.task('only', () => 1);
export { single };
`;

/** The bytes of a package with the bench's pipeline. */
export async function pack(folder: string, version: string): Promise<Uint8Array> {
  const project = join(folder, `project-${version}`);
  mkdirSync(join(project, 'src'), { recursive: true });
  const about = { name: 'bench', version, type: 'module', cloacina: { entry: 'src/index.ts' } };
  writeFileSync(join(project, 'package.json'), JSON.stringify(about));
  writeFileSync(join(project, 'src/index.ts'), `${source}// ${version}\n`);
  const { bytes } = await buildPackage(project, { describe: describeInIsolate });
  return bytes;
}

/** Runs a function with a runner that has loaded the package. */
export async function withPackage<T>(run: (runner: Runner, folder: string) => Promise<T>): Promise<T> {
  return inFolder(async (folder) => {
    const bytes = await pack(folder, '1.0.0');
    await using runner = await Runner.open(`sqlite:${folder}/bench.db`, { registry: `file:${folder}/packages` });
    await runner.registry.register(bytes);
    await runner.execute('pipeline');
    return await run(runner, folder);
  });
}

export async function packaged(
  widths: readonly number[],
  totals: ReadonlyMap<number, number>,
): Promise<ReadonlyMap<number, Rate>> {
  return withPackage(async (runner) => {
    const byWidth = new Map<number, Rate>();
    for (const width of widths)
      byWidth.set(width, await rate(totals.get(width)!, width, () => runner.execute('pipeline')));
    return byWidth;
  });
}

/** Ms of one call of a task in an isolate with its answer, one call at a time. */
export async function isolateRoundTrip(): Promise<number> {
  return inFolder(async (folder) => {
    const bytes = await pack(folder, '1.0.0');
    const { manifest } = await readArchive(bytes);
    const unpacked = join(folder, 'unpacked');
    const dir = await unpackPackage(unpacked, 'sha256:bench', manifest.files, (sink) => readArchive(bytes, sink));
    await using isolate = new Isolate({ dir, label: 'bench', workflows: manifest.workflows, logger: stderrLogger });
    const code = isolate.code('single');
    const taken: number[] = [];
    for (let i = 0; i < 2000; i++) {
      const from = performance.now();
      const { status } = await code.run(call, host);
      if (status !== 'completed') throw new Error(`the task ended ${status}`);
      if (i >= 500) taken.push(performance.now() - from);
    }
    return median(taken);
  });
}

const call: TaskCall = {
  executionId: '00000000-0000-7000-8000-000000000000',
  workflow: 'single',
  task: 'only',
  item: null,
  itemValue: null,
  epoch: 1,
  attempt: 1,
  idempotencyKey: 'bench/only',
  input: '{}',
  needs: [],
  schedule: null,
  maxPayload: 1_048_576,
  alone: false,
};

const host: TaskHost = {
  signal: new AbortController().signal,
  stepResult: () => Promise.resolve(undefined),
  saveStep: () => Promise.resolve(),
  log: () => undefined,
  progress: () => undefined,
};

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeInIsolate } from '../src/cli/describe.ts';
import { Runner } from '../src/index.ts';
import { buildPackage } from '../src/package/build.ts';
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

/** Runs something with a runner that has the package loaded. */
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

/** What a task in an isolate takes longer than one in this process, one at a time. */
export async function isolateRoundTrip(): Promise<number> {
  const taken = await withPackage(async (runner) => {
    const from: number[] = [];
    for (let i = 0; i < 300; i++) {
      const { executionId } = await runner.execute('single');
      const [task] = (await runner.executions.get(executionId)).tasks;
      from.push(task!.endedAt! - task!.startedAt!);
    }
    return from;
  });
  return median(taken);
}

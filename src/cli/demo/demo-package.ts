import { fileURLToPath } from 'node:url';
import type { PackedArchive } from '../../package/archive/archive.ts';
import { buildPackage } from '../../package/pack/build.ts';
import { describeInIsolate } from '../describe.ts';

/** Three folders up, both from `src/cli/demo` in a checkout and from `dist/cli/demo` in an installed package. */
const project = fileURLToPath(new URL('../../../examples/registry-execution-demo/simple-demo/', import.meta.url));

/** The workflow of the example by its long name. */
export const demoWorkflow = 'simple_demo/data_processing';

/** Packs the example's project. Throws what `buildPackage` and `describeInIsolate` throw. */
export function buildDemoPackage(): Promise<PackedArchive> {
  return buildPackage(project, { describe: describeInIsolate });
}

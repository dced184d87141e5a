import { fileURLToPath } from 'node:url';
import type { PackedArchive } from '../../package/archive/archive.ts';
import { buildPackage } from '../../package/pack/build.ts';
import { describeInIsolate } from '../describe.ts';

/** Three folders up, both from `src/cli/demo` in a checkout and from `dist/cli/demo` in an installed package. */
const project = fileURLToPath(new URL('../../../examples/registry-execution-demo/simple-demo/', import.meta.url));

/** The qualified name of the example's workflow. */
export const demoWorkflow = 'simple_demo/data_processing';

/** Packs the example's project. Throws the errors of `buildPackage` and `describeInIsolate`. */
export function buildDemoPackage(): Promise<PackedArchive> {
  return buildPackage(project, { describe: describeInIsolate });
}

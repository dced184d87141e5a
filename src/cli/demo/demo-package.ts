import { dirname, join } from 'node:path';
import { ownManifest } from '../../own-files.ts';
import type { PackedArchive } from '../../package/archive/archive.ts';
import { buildPackage } from '../../package/pack/build.ts';
import { describeInIsolate } from '../describe.ts';

/** In a checkout and in an installed package. */
const project = join(dirname(ownManifest()), 'examples', 'registry-execution-demo', 'simple-demo');

/** The qualified name of the example's workflow. */
export const demoWorkflow = 'simple_demo/data_processing';

/** Packs the example's project. Throws the errors of `buildPackage` and `describeInIsolate`. */
export function buildDemoPackage(): Promise<PackedArchive> {
  return buildPackage(project, { describe: describeInIsolate });
}

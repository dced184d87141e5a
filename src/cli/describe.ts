import { tmpdir } from 'node:os';
import type { WorkflowSpec } from '../core/spec.ts';
import { stderrLogger } from '../engine/logger.ts';
import type { PackageFiles } from '../package/archive.ts';
import { Isolate } from '../package/isolate/host.ts';
import { unpackTemporary } from '../package/unpack.ts';
import { writing } from './given.ts';

/** Loads a bundle in an isolate, out of a temporary folder, and gives the workflows it exports. Throws PACKAGE_LOAD_FAILED. */
export async function describeInIsolate({ files }: { readonly files: PackageFiles }): Promise<readonly WorkflowSpec[]> {
  await using folder = await writing(tmpdir(), () => unpackTemporary(files));
  await using isolate = new Isolate({ dir: folder.dir, label: 'the package', logger: stderrLogger });
  return await isolate.describe();
}

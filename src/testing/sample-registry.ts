import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { packArchive } from '../package/archive/archive.ts';
import { Registry } from '../package/registry/registry.ts';
import { openStorage } from '../package/storage/open.ts';
import { upsertPackageSchedules } from '../schedule/declared.ts';
import type { NewExecution, Pin } from '../store/transition.ts';
import type { Store } from '../store/store.ts';
import { release } from './engine-rig.ts';
import type { Cleanup } from './engine-rig.ts';
import { sampleManifest, sampleWorkflow } from './sample-package.ts';
import { sampleExecution } from './samples.ts';

/** A registry on a store, with one package that has the workflow `w`. */
export class SampleRegistry {
  readonly registry: Registry;

  constructor(t: Cleanup, store: Store) {
    const folder = mkdtempSync(join(tmpdir(), 'cloacina-registry-'));
    release(t, () => rmSync(folder, { recursive: true, force: true }));
    this.registry = new Registry({
      store,
      storage: openStorage(pathToFileURL(folder).href),
      tenant: 'default',
      actor: 'test',
      onActivate: upsertPackageSchedules,
    });
  }

  /** Registers a version of the package; the live channel points to it from then on. */
  async register(version: string, workflows: readonly string[] = ['w']): Promise<Pin> {
    const manifest = { ...sampleManifest('p', version), workflows: workflows.map((name) => sampleWorkflow(name)) };
    const { bytes, digest } = await packArchive(manifest, new Map([['code/index.mjs', Buffer.from('')]]));
    await this.registry.register(bytes);
    return { package: 'p', version, digest };
  }
}

/** An execution of a version, as a caller creates it directly after the lookup. */
export function samplePinned(pin: Pin, change: Partial<NewExecution> = {}): NewExecution {
  return sampleExecution({ pin, buildId: pin.digest, ...change });
}

/** A runner of this process with one package, whose code is a text. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Runner } from '../../src/index.ts';
import type { RunnerOptions } from '../../src/index.ts';
import { packArchive } from '../../src/package/archive/archive.ts';
import { Isolate } from '../../src/package/isolate/isolate.ts';
import { keepingLogger, release, tempFolder } from '../../src/testing/engine-rig.ts';
import type { Cleanup, Logged } from '../../src/testing/engine-rig.ts';
import { sampleManifest } from '../../src/testing/sample-package.ts';

export interface Packaged {
  readonly runner: Runner;
  readonly database: string;
  readonly logged: readonly Logged[];
}

/** Packs the code, registers it, and opens a runner that has loaded it. */
export async function openPackaged(t: Cleanup, source: string, options: RunnerOptions = {}): Promise<Packaged> {
  const folder = tempFolder(t);
  const dir = join(folder, 'source');
  mkdirSync(join(dir, 'code'), { recursive: true });
  writeFileSync(join(dir, 'code', 'index.mjs'), source);
  const logged: Logged[] = [];
  const logger = keepingLogger(logged);
  await using isolate = new Isolate({ dir, label: 'sample', logger });
  const workflows = await isolate.describe();
  const files = new Map([['code/index.mjs', Buffer.from(source)]]);
  const { bytes } = await packArchive({ ...sampleManifest(), workflows }, files);
  const database = `sqlite:${join(folder, 'cloacina.db')}`;
  const runner = await Runner.open(database, {
    registry: `file:${join(folder, 'packages')}`,
    logger,
    ...options,
  });
  release(t, () => runner.close({ drain: 0 }));
  await runner.registry.register(bytes);
  return { runner, database, logged };
}

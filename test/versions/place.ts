import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isWorkflow } from '../../src/core/definition/workflow.ts';
import { Client, Runner } from '../../src/index.ts';
import type { ClientOptions, RunnerOptions } from '../../src/index.ts';
import { packArchive } from '../../src/package/archive/archive.ts';
import { release } from '../../src/testing/engine-rig.ts';
import type { Cleanup } from '../../src/testing/engine-rig.ts';
import { sampleManifest } from '../../src/testing/sample-package.ts';

const library = new URL('../../src/index.ts', import.meta.url).href;

const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** A database and a folder of packages, for runners and clients of a test. */
export class VersionPlace {
  readonly folder: string;
  readonly database: string;
  readonly registry: string;
  readonly #t: Cleanup;

  /** `url`: default a SQLite file. */
  constructor(t: Cleanup, url?: string) {
    this.#t = t;
    this.folder = mkdtempSync(join(tmpdir(), 'cloacina-versions-'));
    release(t, () => rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 }));
    this.database = url ?? `sqlite:${join(this.folder, 'app.db')}`;
    this.registry = `file:${join(this.folder, 'packages')}`;
  }

  async runner(options: RunnerOptions = {}): Promise<Runner> {
    const runner = await Runner.open(this.database, { registry: this.registry, logger: quiet, ...options });
    release(this.#t, () => runner.close({ drain: 0 }));
    return runner;
  }

  async client(options: ClientOptions = {}): Promise<Client> {
    const client = await Client.open(this.database, { registry: this.registry, logger: quiet, ...options });
    release(this.#t, () => client.close());
    return client;
  }

  /** Packs the body of one module, which begins with the import of `workflow`; it is read in this process, not bundled. */
  async pack(name: string, version: string, body: string): Promise<Uint8Array> {
    const module = join(this.folder, `${name.replaceAll(/\W/g, '-')}-${version}.mjs`);
    writeFileSync(module, `import { workflow } from ${JSON.stringify(library)};\n${body}\n`);
    const exported = Object.values((await import(pathToFileURL(module).href)) as object);
    const workflows = exported.filter(isWorkflow).map(({ spec }) => spec);
    const manifest = { ...sampleManifest(name, version), workflows };
    const code = Buffer.from(`import { workflow } from 'cloacina';\n${body}\n`);
    return (await packArchive(manifest, new Map([['code/index.mjs', code]]))).bytes;
  }
}

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { pathToFileURL } from 'node:url';
import { isError } from '../core/foreign/realms.ts';
import type { WorkflowSpec } from '../core/definition/spec.ts';
import { isWorkflow } from '../core/definition/workflow.ts';
import { ownFolder } from '../own-files.ts';
import { readArchive } from '../package/archive/archive.ts';
import type { PackageFiles } from '../package/archive/archive.ts';
import { buildPackage } from '../package/pack/build.ts';
import type { BuildOptions, BuiltPackage } from '../package/pack/build.ts';
import { sampleWorkflow } from './sample-package.ts';

/** The files of a project by path, with `/`. */
export interface ProjectFiles {
  readonly [path: string]: string | Uint8Array;
}

/** Projects in a temporary folder, which is removed after the tests of a file. */
export class PackRig {
  readonly root: string;
  #folders = 0;

  private constructor(root: string) {
    this.root = root;
  }

  static async open(name: string): Promise<PackRig> {
    const root = await mkdtemp(join(tmpdir(), `cloacina-${name}-`));
    after(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));
    return new PackRig(root);
  }

  /** Writes files into a folder, by default a new one, and returns the folder. */
  async write(files: ProjectFiles, dir: string = join(this.root, `p${++this.#folders}`)): Promise<string> {
    for (const [path, content] of Object.entries(files)) {
      const file = join(dir, ...path.split('/'));
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, content);
    }
    return dir;
  }

  /** Packs files as a project without describing its workflows. */
  async pack(files: ProjectFiles, options: BuildOptions = literal): Promise<BuiltPackage> {
    return buildPackage(await this.write({ 'package.json': packageJson(), ...files }), options);
  }

  /** Loads the bundle as a runner does: from its own folder, with `cloacina` supplied by the host. */
  async load(files: PackageFiles): Promise<Record<string, unknown>> {
    const definitions = pathToFileURL(join(ownFolder(), 'core', 'definition', 'workflow.ts')).href;
    const dir = await this.write({
      'node_modules/cloacina/package.json': '{ "name": "cloacina", "type": "module", "exports": "./index.mjs" }',
      'node_modules/cloacina/index.mjs': `export * from ${JSON.stringify(definitions)};`,
      ...Object.fromEntries(files),
    });
    return import(pathToFileURL(join(dir, 'code', 'index.mjs')).href) as Promise<Record<string, unknown>>;
  }

  /** Packs files as a project and loads the bundle. */
  async run(files: ProjectFiles): Promise<Record<string, unknown>> {
    return this.load((await readArchive((await this.pack(files)).bytes)).files);
  }

  async describe({ files }: { readonly files: PackageFiles }): Promise<WorkflowSpec[]> {
    return Object.values(await this.load(files)).flatMap((value) => (isWorkflow(value) ? [value.spec] : []));
  }

  /** Returns the message of the error that a project fails with, after its code. */
  async refusal(files: ProjectFiles, code = 'BUILD_FAILED'): Promise<string> {
    const error: unknown = await this.pack(files).then(
      ({ warnings }) => assert.fail(`it was packed: ${warnings.join('; ')}`),
      (thrown: unknown) => thrown,
    );
    assert(isError(error) && Reflect.get(error, 'code') === code, String(error));
    assert(!error.message.includes('\u001b'), 'no colours');
    return error.message;
  }
}

export function packageJson(more: object = {}, cloacina: object = {}): string {
  const own = { entry: 'src/index.ts', ...cloacina };
  return JSON.stringify({ name: 'sample', version: '1.0.0', type: 'module', cloacina: own, ...more });
}

/** Takes the place of an isolate that describes the workflows. */
export const literal: BuildOptions = { describe: () => Promise.resolve([sampleWorkflow('w')]) };

export function text(files: PackageFiles, path: string): string {
  const bytes = files.get(path);
  assert(bytes !== undefined, `${path} in ${[...files.keys()].join(', ')}`);
  return Buffer.from(bytes).toString('utf8');
}

import type { TaskSpec, WorkflowSpec } from '../core/definition/spec.ts';
import { packArchive, readArchive } from '../package/archive/archive.ts';
import type { PackageFiles, PackedArchive, ReadArchive } from '../package/archive/archive.ts';
import type { Manifest } from '../package/archive/manifest.ts';

/** A task of kind `task` with the defaults of a definition. */
export function sampleTask(name: string, needs: readonly string[] = []): TaskSpec {
  return {
    name,
    kind: 'task',
    description: null,
    needs: Object.fromEntries(needs.map((task) => [task, { task, settled: false }])),
    when: false,
    timeout: 3_600_000,
    queue: null,
    retry: { attempts: 3, backoff: 'exponential', delay: 1000, maxDelay: 60_000, jitter: 0.25, when: false },
    map: null,
    child: null,
    sleep: null,
    wait: null,
  };
}

/** Three tasks in a chain. */
export function sampleWorkflow(name: string): WorkflowSpec {
  return {
    name,
    description: null,
    input: null,
    output: { task: 'report', settled: false },
    failFast: false,
    concurrency: null,
    retention: null,
    fingerprint: 'f'.repeat(32),
    tasks: [sampleTask('collect'), sampleTask('process', ['collect']), sampleTask('report', ['process'])],
    schedules: [],
  };
}

export function sampleManifest(name = 'sample', version = '1.0.0'): Omit<Manifest, 'files'> {
  return {
    formatVersion: 1,
    package: { name, version, description: null, authors: [], license: null, repository: null },
    engine: { cloacina: '*', node: '>=24' },
    entry: 'code/index.mjs',
    workflows: [sampleWorkflow('data_processing')],
    permissions: { net: false, env: [], read: [], write: [] },
  };
}

/** Reads a package file with all its files in memory. */
export async function readWhole(bytes: Uint8Array): Promise<ReadArchive & { readonly files: PackageFiles }> {
  const files = new Map<string, Uint8Array>();
  const read = await readArchive(bytes, async (path, chunks) => {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    files.set(path, Buffer.concat(parts));
  });
  return { ...read, files };
}

/** A package file with the given code; different code has a different digest. */
export function samplePackage(code = 'export {};\n', name = 'sample', version = '1.0.0'): Promise<PackedArchive> {
  return packArchive(sampleManifest(name, version), new Map([['code/index.mjs', Buffer.from(code)]]));
}

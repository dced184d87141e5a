import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const threads = ['lease-thread'];

/**
 * Bundles a script into a few files, compiled once: it starts several times as fast, which leaves more time for the
 * load.
 */
export async function bundled(script: string, folder: string): Promise<string> {
  const { rolldown } = await import('rolldown');
  const name = basename(script, '.ts');
  const source = (thread: string): string =>
    fileURLToPath(new URL(`../../src/store/postgres/lease/${thread}.ts`, import.meta.url));
  const input = { [name]: script, ...Object.fromEntries(threads.map((thread) => [thread, source(thread)])) };
  const external = ['rolldown', 'pg-native'];
  await using bundle = await rolldown({ input, platform: 'node', external, logLevel: 'silent' });
  // one folder for all files: a thread's file is looked up beside the file that starts it
  await bundle.write({ dir: folder, entryFileNames: '[name].mjs', chunkFileNames: '[name]-[hash].mjs' });
  return join(folder, `${name}.mjs`);
}

import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const threads = ['lease-thread'];

/** A script as few files, compiled once: it starts several times as fast, and more of the time goes into the load. */
export async function bundled(script: string, folder: string): Promise<string> {
  const { rolldown } = await import('rolldown');
  const name = basename(script, '.ts');
  const source = (thread: string): string =>
    fileURLToPath(new URL(`../../src/store/postgres/lease/${thread}.ts`, import.meta.url));
  const input = { [name]: script, ...Object.fromEntries(threads.map((thread) => [thread, source(thread)])) };
  const external = ['rolldown', 'pg-native'];
  await using bundle = await rolldown({ input, platform: 'node', external, logLevel: 'silent' });
  // all in one folder: a thread's file is looked for beside the file that starts it
  await bundle.write({ dir: folder, entryFileNames: '[name].mjs', chunkFileNames: '[name]-[hash].mjs' });
  return join(folder, `${name}.mjs`);
}

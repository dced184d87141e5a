import { basename, join } from 'node:path';
import { root } from '../../scripts/tool.ts';
import { startedFiles } from '../../src/own-files.ts';

/**
 * Bundles a script into a few files, compiled once: it starts several times as fast, which leaves more time for the
 * load.
 */
export async function bundled(script: string, folder: string): Promise<string> {
  const { rolldown } = await import('rolldown');
  const name = basename(script, '.ts');
  const started = startedFiles.map((file) => [file, join(root, 'src', `${file}.ts`)]);
  const input = { [name]: script, ...Object.fromEntries(started) };
  const external = ['rolldown', 'pg-native'];
  await using bundle = await rolldown({ input, platform: 'node', external, logLevel: 'silent' });
  // the top of the folder takes the place of src/: files that are started by path keep their paths below it
  await bundle.write({ dir: folder, entryFileNames: '[name].mjs', chunkFileNames: '[name]-[hash].mjs' });
  return join(folder, `${name}.mjs`);
}

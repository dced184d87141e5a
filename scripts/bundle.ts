import { join, relative } from 'node:path';
import { rolldown } from 'rolldown';
import { startedFiles } from '../src/own-files.ts';
import { root } from './tool.ts';

const source = join(root, 'src');

/** The files that users import, that `bin/cloacina.js` loads, and that are started by path. */
const entries: readonly string[] = ['index', 'testing', 'cli/compile-cache', 'cli/main', ...startedFiles];

/**
 * The shared files. Each takes the modules that match, with all that they import and no earlier file took. A module is loaded with all
 * others of its file, so a file holds what one door needs ([reasons](../docs/decisions/loading.md)).
 */
const groups = [
  // the definition API, and all that the CLI needs before it knows its command
  {
    name: 'core',
    test: within('core/', 'engine/client/execution-failed', 'package/load/grants', 'store/sqlite/folder'),
  },
  { name: 'own-files', test: within('own-files') },
  { name: 'client', test: within('open') },
  // both sides of the channel of an isolate
  { name: 'channel', test: within('package/isolate/link', 'package/isolate/protocol', 'package/isolate/lines') },
  // all that the thread which renews a lease needs of the store
  {
    name: 'lease',
    test: within('store/runners/renewal', 'store/postgres/connections', 'store/postgres/lease/renewal-statement'),
  },
  { name: 'database', test: within('wire') },
  { name: 'postgres', test: within('store/postgres/') },
  { name: 'engine', test: within('run') },
  { name: 'packages', test: within('package/registry/registry', 'package/load/reconciler') },
  { name: 'archive', test: within('package/archive/') },
];

/**
 * Matches files of `src/` by their paths without `.ts`, and folders by paths that end with `/`. It matches no entry, since the code of an
 * entry runs when its file is loaded.
 */
function within(...paths: readonly string[]): (id: string) => boolean {
  return (id) => {
    const path = relative(source, id).replaceAll('\\', '/').replace(/\.ts$/, '');
    if (entries.includes(path)) return false;
    return paths.some((each) => (each.endsWith('/') ? path.startsWith(each) : path === each));
  };
}

/**
 * Writes the JavaScript of the library into a folder: each entry at its path in `src/`, and the shared files at the top. Their names change
 * with their content, so files of two versions never meet in one process. Packages stay imports.
 */
export async function bundleInto(folder: string): Promise<void> {
  await using build = await rolldown({
    input: Object.fromEntries(entries.map((name) => [name, join(source, `${name}.ts`)])),
    platform: 'node',
    external: /^(?:node:|[a-z@][^:]*$)/,
    tsconfig: false,
  });
  await build.write({
    dir: folder,
    entryFileNames: '[name].js',
    chunkFileNames: 'shared-[name]-[hash].js',
    codeSplitting: { groups },
    minifyInternalExports: false,
    comments: { legal: true, annotation: true, jsdoc: false },
    sourcemap: true,
    sourcemapExcludeSources: true,
  });
}

import { readdir, stat } from 'node:fs/promises';
import { dirname, join, parse } from 'node:path';
import type { Bundle } from './bundle.ts';
import { dependencyOf, displayPath } from './paths.ts';
import type { PlaceUse } from './source/locate.ts';

/** Maximum number of named files in one remark about a dependency. */
const shownFiles = 3;

/**
 * Returns remarks about files beside the code that it may read and that are not in the package: paths that modules
 * derive from their own locations, and the WebAssembly of a dependency. `packed`: the absolute paths of the files that
 * are. Doubts about a dependency are one remark.
 */
export async function remarksBeside(
  dir: string,
  { uses, located }: Pick<Bundle, 'uses' | 'located'>,
  packed: ReadonlySet<string>,
): Promise<readonly string[]> {
  const own: string[] = [];
  const foreign = new Map<string, Set<string>>();
  for (const module of located) {
    const home = dependencyOf(dir, module);
    const lacking = home === null ? [] : (await assembliesBeside(module)).filter((file) => !packed.has(file));
    if (home !== null && lacking.length > 0)
      foreign.set(home.name, new Set(lacking.map((file) => displayPath(dir, file))));
  }
  for (const use of uses) {
    const lacking = await lackingOf(use, packed);
    if (lacking === null) continue;
    const home = dependencyOf(dir, use.file);
    if (home === null)
      own.push(`${displayPath(dir, use.file)}:${use.line}:${use.column}: ${ownText(dir, use, lacking)}`);
    else if (lacking !== 'unknown') {
      const files = foreign.get(home.name) ?? new Set();
      foreign.set(home.name, files.add(shownPath(dir, use, lacking)));
    }
  }
  const others = [...foreign].map(([name, files]) => foreignText(name, [...files].toSorted()));
  return [...own, ...others];
}

/** The WebAssembly in the folder of a module: the file with its name, otherwise all of them. */
async function assembliesBeside(module: string): Promise<readonly string[]> {
  const folder = dirname(module);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.wasm'));
  const own = `${parse(module).name}.wasm`;
  return (names.includes(own) ? [own] : names).map((name) => join(folder, name));
}

type Lacking = 'file' | 'folder' | 'unknown';

/** The kind of path that is missing; null if nothing is. */
async function lackingOf({ path, exact }: PlaceUse, packed: ReadonlySet<string>): Promise<Lacking | null> {
  if (packed.has(path) || [...packed].some((file) => file.startsWith(withEnd(path, exact)))) return null;
  if (!exact) return 'unknown';
  const found = await stat(path).catch(() => null); // a path that does not exist here either
  if (found === null) return null;
  return found.isDirectory() ? 'folder' : 'file';
}

function withEnd(path: string, exact: boolean): string {
  return exact ? path.replace(/[/\\]*$/, '/') : path;
}

function shownPath(dir: string, { path }: PlaceUse, lacking: Lacking): string {
  const shown = displayPath(dir, path.replace(/[/\\]+$/, ''));
  return lacking === 'folder' ? `${shown}/**` : shown;
}

function ownText(dir: string, use: PlaceUse, lacking: Lacking): string {
  if (lacking === 'unknown') return 'a file that this path names is in the package only if cloacina.files names it';
  const shown = shownPath(dir, use, lacking);
  return `'${shown}' is not in the package; add "${shown}" to cloacina.files`;
}

function foreignText(name: string, files: readonly string[]): string {
  const more = files.length > shownFiles ? ` and ${files.length - shownFiles} more` : '';
  const some = files.slice(0, shownFiles).map((file) => `'${file}'`);
  return `${name} names files of its own that are not in the package: ${some.join(', ')}${more}; add those that it needs to cloacina.files`;
}

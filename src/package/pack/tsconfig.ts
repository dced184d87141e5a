import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';

const workspaceFiles = ['pnpm-workspace.yaml', 'lerna.json', 'nx.json', 'turbo.json', 'rush.json'];

/**
 * The `tsconfig.json` files around a project. The bundler takes the nearest one of each module. One above the workspace
 * would make the bytes of a package depend on the location of its folder, so it is not read.
 */
export class Tsconfigs {
  readonly #dir: string;
  readonly #workspace: string;
  readonly #nearest = new Map<string, string | null>();

  constructor(dir: string) {
    this.#dir = dir;
    this.#workspace = above(dir, isWorkspace) ?? dir;
  }

  /** The file that applies to all modules if the nearest one of a module may not be read. */
  get own(): string | false {
    const file = join(this.#dir, 'tsconfig.json');
    return existsSync(file) ? file : false;
  }

  /** Returns the nearest file of a module if it lies neither in the workspace nor in the package of the module. */
  outside(file: string): string | null {
    const nearest = this.#nearestOf(dirname(file));
    if (nearest === null || isIn(this.#workspace, nearest)) return null;
    const home = above(dirname(file), (folder) => existsSync(join(folder, 'package.json')));
    return home !== null && isIn(home, nearest) ? null : nearest;
  }

  #nearestOf(folder: string): string | null {
    const known = this.#nearest.get(folder);
    if (known !== undefined) return known;
    const home = above(folder, (each) => existsSync(join(each, 'tsconfig.json')));
    const found = home === null ? null : join(home, 'tsconfig.json');
    this.#nearest.set(folder, found);
    return found;
  }
}

/** Returns the first folder from here upwards for which the test holds. */
function above(folder: string, holds: (folder: string) => boolean): string | null {
  for (let at = folder; ; at = dirname(at)) {
    if (holds(at)) return at;
    if (dirname(at) === at) return null;
  }
}

function isWorkspace(folder: string): boolean {
  return workspaceFiles.some((name) => existsSync(join(folder, name))) || hasWorkspaces(join(folder, 'package.json'));
}

function hasWorkspaces(file: string): boolean {
  try {
    return /"workspaces"\s*:/.test(readFileSync(file, 'utf8'));
  } catch {
    return false; // there is none
  }
}

function isIn(folder: string, file: string): boolean {
  const path = relative(folder, file);
  return !path.startsWith('..') && !isAbsolute(path);
}

import { isAbsolute, relative } from 'node:path';

/**
 * Returns the path of a file in a package: relative to the project, with `/`; a dependency from its `node_modules` on,
 * wherever that is; `up/` for each folder above the project.
 */
export function logicalPath(dir: string, file: string): string {
  const posixFile = posix(file);
  const dependency = dependencyAt(dir, file);
  if (dependency >= 0) return posixFile.slice(dependency + 1);
  const path = relative(dir, file);
  // another drive has no relative path
  const inside = isAbsolute(path) ? `up/${posixFile.replace(/^[a-z]:\//i, '')}` : path;
  return posix(inside).replaceAll(/(^|\/)\.\.(?=\/)/g, '$1up');
}

/** Returns the path of a file for a message: relative to the project, a dependency from its `node_modules` on. */
export function displayPath(dir: string, file: string | undefined): string {
  if (file === undefined) return 'the entry';
  if (!isAbsolute(file)) return posix(file); // the bundler's own path, relative to the project
  return isDependency(dir, file) ? logicalPath(dir, file) : posix(relative(dir, file));
}

export function isDependency(dir: string, file: string): boolean {
  return dependencyAt(dir, file) >= 0;
}

/** A package in a `node_modules` folder. */
export interface Dependency {
  readonly name: string;
  /** Its folder, absolute. */
  readonly folder: string;
}

/** Returns the dependency that a file belongs to, or null for a file of the project. */
export function dependencyOf(dir: string, file: string): Dependency | null {
  const at = dependencyAt(dir, file);
  if (at < 0) return null;
  const found = /^\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(posix(file).slice(at));
  if (found === null) return null;
  return { name: found[1]!, folder: file.slice(0, at + found[0].length) };
}

/**
 * Returns the index in a file's path (with '/' and in NFC) at which its dependency's folder begins; -1 for a file of
 * the project. The project may itself be in a node_modules folder, as the demo of an installed package is.
 */
function dependencyAt(dir: string, file: string): number {
  const [project, path] = [posix(dir), posix(file)];
  const at = path.lastIndexOf('/node_modules/');
  return path.startsWith(`${project}/`) && at < project.length ? -1 : at;
}

function posix(path: string): string {
  return path.replaceAll('\\', '/').normalize('NFC');
}

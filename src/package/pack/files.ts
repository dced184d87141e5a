import { existsSync } from 'node:fs';
import { glob, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CloacinaError } from '../../core/error.ts';
import { dependencyOf } from './paths.ts';
import type { Project } from './project.ts';

/**
 * Reads the files that `cloacina.files` names, by their absolute paths. A pattern that begins with `node_modules/NAME/`
 * means that dependency, wherever it is installed: `modules` are the bundled modules. Throws PROJECT_INVALID for a
 * pattern that matches no file.
 */
export async function readNamedFiles(
  project: Project,
  modules: readonly string[],
): Promise<ReadonlyMap<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for (const pattern of project.files) {
    const paths = await matches(project, pattern, modules);
    if (paths.length === 0) {
      const { name, version } = project.package;
      const what = `package ${name} v${version} cannot be packed: cloacina.files`;
      throw new CloacinaError('PROJECT_INVALID', `${what}: '${pattern}' matches no file in ${project.dir}`);
    }
    for (const path of paths) found.set(path, await readFile(path));
  }
  return found;
}

async function matches(project: Project, pattern: string, modules: readonly string[]): Promise<readonly string[]> {
  const [, name, rest] = /^node_modules\/((?:@[^/]+\/)?[^/]+)\/(.+)$/.exec(pattern) ?? [];
  if (name === undefined || rest === undefined) return filesIn(project.dir, pattern);
  const folders = await foldersOf(project.dir, name, modules);
  return (await Promise.all(folders.map((folder) => filesIn(folder, rest)))).flat();
}

/** The folders of a dependency: those of its bundled modules, otherwise the one that the project itself would find. */
async function foldersOf(dir: string, name: string, modules: readonly string[]): Promise<readonly string[]> {
  const bundled = modules.flatMap((module) => {
    const home = dependencyOf(dir, module);
    return home?.name === name ? [home.folder] : [];
  });
  if (bundled.length > 0) return [...new Set(bundled)];
  for (let at = dir; ; at = dirname(at)) {
    const folder = join(at, 'node_modules', name);
    if (existsSync(folder)) return [await realpath(folder)];
    if (dirname(at) === at) return [];
  }
}

function isModules(name: string): boolean {
  return /(^|[/\\])node_modules$/.test(name);
}

/** Dotfiles match only by their names, and the dependencies of a folder only if the pattern names `node_modules`. */
async function filesIn(folder: string, pattern: string): Promise<readonly string[]> {
  const options = pattern.includes('node_modules') ? { cwd: folder } : { cwd: folder, exclude: isModules };
  const paths: string[] = [];
  for await (const path of glob(pattern, options)) {
    const file = join(folder, path);
    if ((await stat(file)).isFile()) paths.push(file);
  }
  return paths.toSorted();
}

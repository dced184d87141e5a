import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { calledName, children, position, textOf, walk } from './syntax.ts';
import type { Syntax } from './syntax.ts';

const reading =
  /^(readFile|readFileSync|createReadStream|readdir|readdirSync|opendir|opendirSync|open|openSync|stat|statSync|existsSync|access|accessSync)$/;

/** True if a module may read files by a path. */
export function mayRead(code: string): boolean {
  return /\b(readFile|createReadStream|readdir|opendir|open|stat|exists|access)(Sync)?\b/.test(code);
}

/** A file of the project that code reads by a path relative to the working folder. */
export interface WorkingFile {
  readonly path: string;
  /** The argument of `new URL` that names the file from the module. */
  readonly url: string;
  readonly line: number;
  readonly column: number;
}

/**
 * Finds calls such as `readFile('templates/x')`, which find the file only if the process was started in the folder of
 * the project. `dir` is that folder.
 */
export function workingFiles(module: Syntax, dir: string): readonly WorkingFile[] {
  const found: WorkingFile[] = [];
  walk(module.program, (node) => {
    if (node.type !== 'CallExpression' || !reading.test(calledName(node) ?? '')) return;
    const path = textOf(children(node, 'arguments')[0]);
    if (path === null || !/^\.?[\w-][^:]*$/.test(path) || !existsSync(join(dir, path))) return;
    const fromModule = relative(dirname(module.file), join(dir, path)).replaceAll('\\', '/');
    const url = fromModule.startsWith('../') ? fromModule : `./${fromModule}`;
    found.push({ path, url, ...position(module.code, node.start) });
  });
  return found;
}

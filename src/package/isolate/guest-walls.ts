import { registerHooks, syncBuiltinESMExports } from 'node:module';
import type { ResolveFnOutput } from 'node:module';

/** Builtins that Node's permission model does not cover and that reach the file system. */
const closedBuiltins: ReadonlySet<string> = new Set(['node:sqlite', 'sqlite']);

/**
 * Puts up, before any code of the package is loaded, the walls that Node's permission model has no word for: `cloacina`
 * is what the host supplies, `node:sqlite` cannot be had, and only this process can be signalled. They hold against
 * mistakes, not against an attacker.
 */
export function raiseWalls(apiUrl: string): void {
  registerHooks({
    resolve: (specifier, context, next): ResolveFnOutput => {
      if (specifier === 'cloacina') return { url: apiUrl, shortCircuit: true };
      if (closedBuiltins.has(specifier)) throw refused(`'${specifier}' cannot be imported in a package`);
      return next(specifier, context);
    },
  });
  const getBuiltin = process.getBuiltinModule.bind(process) as (id: string) => unknown;
  replace('getBuiltinModule', (id: string): unknown => {
    if (closedBuiltins.has(id)) throw refused(`'${id}' cannot be imported in a package`);
    return getBuiltin(id);
  });
  const kill = process.kill.bind(process);
  replace('kill', (pid: number, signal?: string | number): true => {
    if (pid !== process.pid) throw refused('a package cannot send signals to other processes');
    return kill(pid, signal);
  });
  syncBuiltinESMExports();
}

function replace(name: 'getBuiltinModule' | 'kill', value: (...args: never[]) => unknown): void {
  Object.defineProperty(process, name, { value, writable: false, configurable: false, enumerable: true });
}

/** With the code that Node gives what its permission model refuses. */
function refused(message: string): Error {
  return Object.assign(new Error(`${message}; its process is isolated`), { code: 'ERR_ACCESS_DENIED' });
}

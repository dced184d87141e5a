import { registerHooks, syncBuiltinESMExports } from 'node:module';
import type { ResolveFnOutput } from 'node:module';
import type { Socket } from 'node:net';
import os from 'node:os';
import v8 from 'node:v8';

/** Builtins that Node's permission model does not cover and that reach the file system. */
const closedBuiltins: ReadonlySet<string> = new Set(['node:sqlite', 'sqlite']);

// taken before the package is loaded, which can redefine `process.pid`
const { pid: ownPid } = process;

/**
 * Puts up, before any code of the package is loaded, the walls that Node's permission model has no word for: `cloacina`
 * is what the host supplies, `node:sqlite` cannot be had, no other process can be signalled or slowed down, V8's flags
 * stay as they are, and no UNIX socket can be reached. They hold against mistakes, not against an attacker. `channel` is
 * the pipe to the host.
 */
export function raiseWalls(apiUrl: string, channel: Socket): void {
  closeModules(apiUrl);
  closeOtherProcesses();
  closeFlags();
  closeUnixSockets(channel);
  syncBuiltinESMExports();
}

function closeModules(apiUrl: string): void {
  registerHooks({
    resolve: (specifier, context, next): ResolveFnOutput => {
      if (specifier === 'cloacina') return { url: apiUrl, shortCircuit: true };
      if (closedBuiltins.has(specifier)) throw refused(`'${specifier}' cannot be imported in a package`);
      return next(specifier, context);
    },
  });
  const getBuiltin = process.getBuiltinModule.bind(process) as (id: string) => unknown;
  replace(process, 'getBuiltinModule', (id: string): unknown => {
    if (closedBuiltins.has(id)) throw refused(`'${id}' cannot be imported in a package`);
    return getBuiltin(id);
  });
}

/**
 * `process._kill` is what `process.kill` calls, and takes the same ids. `_debugProcess` makes another Node open its
 * inspector, through which all of that process can be had.
 */
function closeOtherProcesses(): void {
  for (const name of ['kill', '_kill']) {
    const kill = functionOf(process, name).bind(process);
    replace(process, name, (pid: unknown, ...rest: unknown[]): unknown => {
      if (pid !== ownPid) throw refused('a package cannot send signals to other processes');
      return kill(pid, ...rest);
    });
  }
  for (const name of ['_debugProcess', '_debugEnd']) {
    replace(process, name, () => {
      throw refused(`a package cannot call process.${name}`);
    });
  }
  const setPriority = functionOf(os, 'setPriority');
  replace(os, 'setPriority', (pid: unknown, ...rest: unknown[]): unknown => {
    // with one argument, that is the priority, and the process is this one
    const isOwn = rest[0] === undefined || pid === 0 || pid === ownPid;
    if (!isOwn) throw refused('a package cannot change the priority of other processes');
    return setPriority(pid, ...rest);
  });
}

/** Some of V8's flags name files that it then writes, past the permission model; `spawn.ts` freezes them as well. */
function closeFlags(): void {
  replace(v8, 'setFlagsFromString', () => {
    throw refused('a package cannot set flags of V8');
  });
}

/**
 * A UNIX socket is a file that `listen` makes and `connect` opens past the permission model; on Windows it is a named
 * pipe. All that can do so (`net`, `http` and `fetch` by their `socketPath`) ends at two methods of one native class,
 * which is that of the channel to the host, too.
 */
function closeUnixSockets(channel: Socket): void {
  const pipe: unknown = Object.getPrototypeOf(Reflect.get(channel, '_handle'));
  for (const [name, place] of [
    ['bind', 0],
    ['connect', 1],
  ] as const) {
    functionOf(pipe, name); // of a Node that has no such method the wall would close nothing
    replace(pipe as object, name, (...args: unknown[]) => {
      throw refused(`a package may not use a UNIX socket: ${String(args[place])}`);
    });
  }
}

type AnyFunction = (...args: unknown[]) => unknown;

function functionOf(target: unknown, name: string): AnyFunction {
  const found: unknown = typeof target === 'object' && target !== null ? Reflect.get(target, name) : undefined;
  if (typeof found !== 'function') throw new Error(`this version of Node has no ${name}, which must be blocked`);
  return found as AnyFunction;
}

/** For good: what is not writable and not configurable cannot be put back. */
function replace(target: object, name: string, value: (...args: never[]) => unknown): void {
  Object.defineProperty(target, name, { value, writable: false, configurable: false, enumerable: true });
}

/** With the code that Node gives what its permission model refuses. */
function refused(message: string): Error {
  return Object.assign(new Error(`${message}; its process is isolated`), { code: 'ERR_ACCESS_DENIED' });
}

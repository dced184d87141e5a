import { registerHooks, syncBuiltinESMExports } from 'node:module';
import type { ResolveFnOutput, ResolveHookContext } from 'node:module';
import type { Socket } from 'node:net';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';
import { errnoOf } from '../../../core/errno.ts';
import { isolationPage } from './access.ts';

/** Builtins that reach the file system and that Node's permission model does not cover. */
const closedBuiltins: ReadonlySet<string> = new Set(['node:sqlite', 'sqlite']);

// read before the package is loaded, which can redefine `process.pid`
const { pid: ownPid } = process;

/**
 * Closes, before any code of the package is loaded, the holes in Node's permission model: `cloacina` is the module that
 * the host supplies, `node:sqlite` is unavailable, no other process can be signalled or slowed down, V8's flags are
 * fixed, and no UNIX socket can be reached. This protects against mistakes, not against an attacker. `channel` is the
 * pipe to the host.
 */
export function raiseSandbox(apiUrl: string, channel: Socket): void {
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
      try {
        return next(specifier, context);
      } catch (error) {
        throw errnoOf(error) === 'ERR_ACCESS_DENIED' ? notFound(specifier, context, error) : error;
      }
    },
  });
  const getBuiltin = process.getBuiltinModule.bind(process) as (id: string) => unknown;
  const guarded = (id: string): unknown => {
    if (closedBuiltins.has(id)) throw refused(`'${id}' cannot be imported in a package`);
    return getBuiltin(id);
  };
  // instrumentation wraps this function; a wrapper reaches only `guarded`
  replace(process, 'getBuiltinModule', guarded, true);
}

/**
 * Node looks for a module in every `node_modules` above the package, which it may not read here. Libraries that look
 * for an optional module expect the code of a module that does not exist.
 */
function notFound(specifier: string, { conditions, parentURL }: ResolveHookContext, cause: unknown): Error {
  const error = new Error(`Cannot find module '${specifier}': it is not in the package`, { cause });
  if (!conditions.includes('require')) return Object.assign(error, { code: 'ERR_MODULE_NOT_FOUND' });
  const requireStack = parentURL?.startsWith('file:') === true ? [fileURLToPath(parentURL)] : [];
  return Object.assign(error, { code: 'MODULE_NOT_FOUND', requireStack });
}

/**
 * `process._kill` implements `process.kill` and takes the same ids. `_debugProcess` makes another Node open its
 * inspector, which controls that whole process.
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
    // a single argument is the priority, and the target is this process
    const isOwn = rest[0] === undefined || pid === 0 || pid === ownPid;
    if (!isOwn) throw refused('a package cannot change the priority of other processes');
    return setPriority(pid, ...rest);
  });
}

/** Some V8 flags name files that V8 then writes, bypassing the permission model; `spawn.ts` freezes them as well. */
function closeFlags(): void {
  replace(v8, 'setFlagsFromString', () => {
    throw refused('a package cannot set flags of V8');
  });
}

/**
 * A UNIX socket is a file that `listen` creates and `connect` opens, bypassing the permission model; on Windows it is a
 * named pipe. Every API for them (`net`, `http` and `fetch` by their `socketPath`) ends at two methods of one native
 * class, which the channel to the host uses, too.
 */
function closeUnixSockets(channel: Socket): void {
  const pipe: unknown = Object.getPrototypeOf(Reflect.get(channel, '_handle'));
  for (const [name, place] of [
    ['bind', 0],
    ['connect', 1],
  ] as const) {
    functionOf(pipe, name); // fails if this Node has no such method: replacing it would close nothing
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

/**
 * Permanent: a property that is not writable and not configurable cannot be restored. `writable`: the package may
 * replace the function again, if nothing leads from there to the original.
 */
function replace(target: object, name: string, value: (...args: never[]) => unknown, writable = false): void {
  Object.defineProperty(target, name, { value, writable, configurable: false, enumerable: true });
}

/** Has the code of Node's own permission errors. */
function refused(message: string): Error {
  return Object.assign(new Error(`${message}; ${isolationPage}`), { code: 'ERR_ACCESS_DENIED' });
}

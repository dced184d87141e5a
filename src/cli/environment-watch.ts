import { writeSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename } from 'node:path';

/** Marks a line of stdout that names an environment variable that the code read and that is not set; `*`: it listed all names. */
export const watchMark = '#cloacina:env:';

const maxNames = 100;

/**
 * Runs before the code in the process that reads the graphs of a bundle. It reports every unset name that code of the
 * package reads from `process.env`. Names that Node and Cloacina read are not reported.
 */
export function watchEnvironment(): void {
  const folder = basename(process.cwd());
  const told = new Set<string>();
  const tell = (name: string): void => {
    if (told.has(name) || told.size >= maxNames || !isReadable(name) || !isReadBy(folder)) return;
    told.add(name);
    writeSync(1, `\n${watchMark}${name}\n`); // synchronously: the code may end the process because of the missing name
  };
  process.env = new Proxy(process.env, {
    get: (env, key): unknown => {
      const value: unknown = Reflect.get(env, key);
      if (value === undefined && typeof key === 'string') tell(key);
      return value;
    },
    has: (env, key) => {
      const isThere = Reflect.has(env, key);
      if (!isThere && typeof key === 'string') tell(key);
      return isThere;
    },
    ownKeys: (env) => {
      tell('*');
      return Reflect.ownKeys(env);
    },
    // process.env is an exotic object, so a write must not define a property on the proxy
    set: (env, key, value) => Reflect.set(env, key, value),
  });
  syncBuiltinESMExports();
}

function isReadable(name: string): boolean {
  return /^[\w.*-]{1,100}$/.test(name) && !(name in Object.prototype);
}

/** True if the next frame above this file belongs to the package. Functions of V8 (`Object.keys`) have no file. */
function isReadBy(folder: string): boolean {
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  const ownFile = fileOf(frames[0] ?? '');
  const above = frames.find((frame) => fileOf(frame) !== ownFile && !frame.endsWith('(<anonymous>)'));
  return above?.includes(folder) === true;
}

/** The location in a line of a stack, without line and column. */
function fileOf(frame: string): string | undefined {
  return /(?:\(|at )([^()]+):\d+:\d+\)?$/.exec(frame)?.[1];
}

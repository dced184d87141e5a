import { writeSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename } from 'node:path';

/**
 * Marks a line of stdout that names a variable which the code read but which is not set; `*`: it listed all variables.
 */
export const watchMark = '#cloacina:env:';

const maxNames = 100;
const ownFile = basename(import.meta.url);

/**
 * Runs in the process that loads a bundle to read its graphs, before that code: reports every unset variable that the
 * package's code reads from `process.env`. Reads of Node and Cloacina are ignored.
 */
export function watchEnvironment(): void {
  const folder = basename(process.cwd());
  const told = new Set<string>();
  const tell = (name: string): void => {
    if (told.has(name) || told.size >= maxNames || !isReadable(name) || !isReadBy(folder)) return;
    told.add(name);
    writeSync(1, `\n${watchMark}${name}\n`); // synchronous: the code may end the process as a result of the read
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
    // the environment is no plain object: writes must bypass the proxy's own definition
    set: (env, key, value) => Reflect.set(env, key, value),
  });
  syncBuiltinESMExports();
}

function isReadable(name: string): boolean {
  return /^[\w.*-]{1,100}$/.test(name) && !(name in Object.prototype);
}

/**
 * Returns true if the next frame above this file is in the package; built-in functions (`Object.keys`) have no
 * location.
 */
function isReadBy(folder: string): boolean {
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  return (
    frames.find((frame) => !frame.includes(ownFile) && !frame.endsWith('(<anonymous>)'))?.includes(folder) === true
  );
}

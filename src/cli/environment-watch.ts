import { writeSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename } from 'node:path';

/** Begins a line of stdout that names what the code looked for in the environment and did not find; `*`: it listed all of it. */
export const watchMark = '#cloacina:env:';

const maxNames = 100;
const ownFile = basename(import.meta.url);

/**
 * Runs in the process that loads a bundle to read its graphs, before that code: tells the host of every name that code of
 * the package looks for in `process.env` in vain. Node and Cloacina read names too; those are no affair of the package.
 */
export function watchEnvironment(): void {
  const folder = basename(process.cwd());
  const told = new Set<string>();
  const tell = (name: string): void => {
    if (told.has(name) || told.size >= maxNames || !isReadable(name) || !isReadBy(folder)) return;
    told.add(name);
    writeSync(1, `\n${watchMark}${name}\n`); // at once: the code may end the process by what it finds
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
    // the environment is no plain object: what is set must not go by way of the proxy's own definition
    set: (env, key, value) => Reflect.set(env, key, value),
  });
  syncBuiltinESMExports();
}

function isReadable(name: string): boolean {
  return /^[\w.*-]{1,100}$/.test(name) && !(name in Object.prototype);
}

/** Whether the frame that is next above this file is one of the package; functions of the engine (`Object.keys`) have no place. */
function isReadBy(folder: string): boolean {
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  return (
    frames.find((frame) => !frame.includes(ownFile) && !frame.endsWith('(<anonymous>)'))?.includes(folder) === true
  );
}

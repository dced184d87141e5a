import { CloacinaError } from '../error.ts';

/** The oldest Node that the engine runs on; also `engines` of package.json, and `bin/cloacina.js`. */
const needed: readonly [number, number] = [24, 15];

/** `version`: that of `process.versions.node`. Throws NODE_TOO_OLD. */
export function checkNode(version: string): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > needed[0] || (major === needed[0] && minor >= needed[1])) return;
  const message = `cloacina needs Node ${needed.join('.')} or newer, but this is Node ${version}`;
  throw new CloacinaError('NODE_TOO_OLD', `${message}; install a newer version from https://nodejs.org`);
}

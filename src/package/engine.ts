import { readFileSync } from 'node:fs';
import type { Manifest } from './manifest.ts';

/** The versions that run here, as `checkEngine` compares them: of this package and of Node. */
export function runningEngine(): Manifest['engine'] {
  return { cloacina: ownPackage().version, node: process.versions.node };
}

/** What a package asks for when its project does not say: this minor version of Cloacina, and the Node that it needs. */
export function defaultEngine(): Manifest['engine'] {
  const { version, engines } = ownPackage();
  return { cloacina: `^${version}`, node: engines.node };
}

/** `package.json` lies two folders up, both from `src/package` and from `dist/package`. */
function ownPackage(): { version: string; engines: { node: string } } {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return JSON.parse(text) as { version: string; engines: { node: string } };
}

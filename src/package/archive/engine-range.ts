import { readFileSync } from 'node:fs';
import semver from 'semver';
import { PackageInvalidError } from '../../core/error.ts';
import { ownManifest } from '../../own-files.ts';

/** The versions of Cloacina and Node that a package requires. */
export interface Engine {
  /**
   * The version of the guest interface that the package was packed for; a runner serves its own and every older one.
   * Absent in packages packed before the interface had a version: they have version 1.
   */
  readonly guestApi?: number | undefined;
  /** Version ranges (semver). */
  readonly cloacina: string;
  readonly node: string;
}

/**
 * The versions of the guest interface that this Cloacina serves. The guest interface is everything that the code of a
 * package uses at run time: the exports of `cloacina`, `ctx`, the kinds of tasks and the way their functions are
 * called. An addition leaves the number; a change that breaks packed code raises `newest`. `oldest` stays, so that
 * packages of every earlier version run ([reason](../../../docs/decisions/guest-interface.md)).
 */
const served = { oldest: 1, newest: 1 } as const;

/** The versions of this process, which `checkEngine` compares with those a package requires. */
export interface RunningEngine {
  readonly cloacina: string;
  readonly node: string;
  readonly guestApi: { readonly oldest: number; readonly newest: number };
}

/** Returns the versions of this package, of Node, and of the guest interface. */
export function runningEngine(): RunningEngine {
  return { cloacina: ownPackage().version, node: process.versions.node, guestApi: served };
}

/** The default requirement of a project: this version of Cloacina or any later one, and the Node that it needs. */
export function defaultEngine(): Engine {
  const { version, engines } = ownPackage();
  return { guestApi: served.newest, cloacina: `>=${version}`, node: engines.node };
}

/** Returns the npm range for a new project's dependency: this version and its later patches. */
export function ownRange(): string {
  return `^${ownPackage().version}`;
}

/**
 * Throws ENGINE_UNSUPPORTED unless this process serves the guest interface of the package and both versions are within
 * its ranges (a prerelease counts as its version).
 */
export function checkEngine(
  { package: about, engine: wanted }: { readonly package: { name: string; version: string }; readonly engine: Engine },
  running: RunningEngine,
): void {
  const [path, reason] = engineFault(wanted, running) ?? [];
  if (reason === undefined) return;
  throw new PackageInvalidError(
    'ENGINE_UNSUPPORTED',
    `package ${about.name} v${about.version} does not run here: ${reason}`,
    { path: `engine.${path}`, reason },
  );
}

/**
 * The default range of packages packed before the guest interface had a version. It was not chosen by an author, so it
 * excludes no later version.
 */
const formerDefaultRange = '^0.1.0';

function engineFault(wanted: Engine, running: RunningEngine): readonly [keyof Engine, string] | null {
  const { oldest, newest } = running.guestApi;
  const { guestApi = 1 } = wanted;
  if (guestApi < oldest || guestApi > newest) {
    const range = oldest === newest ? `version ${newest}` : `versions ${oldest} to ${newest}`;
    const what = `it needs version ${guestApi} of the guest interface`;
    return ['guestApi', `${what}, and cloacina ${running.cloacina} serves ${range}`];
  }
  const isFormer = wanted.guestApi === undefined && wanted.cloacina === formerDefaultRange;
  const ranges = { cloacina: isFormer ? '>=0.1.0' : wanted.cloacina, node: wanted.node };
  for (const name of ['cloacina', 'node'] as const) {
    if (semver.satisfies(running[name], ranges[name], { includePrerelease: true })) continue;
    return [name, `it needs ${name} ${ranges[name]}, and this is ${running[name]}`];
  }
  return null;
}

function ownPackage(): { version: string; engines: { node: string } } {
  const text = readFileSync(ownManifest(), 'utf8');
  return JSON.parse(text) as { version: string; engines: { node: string } };
}

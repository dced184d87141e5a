import { readFileSync } from 'node:fs';
import semver from 'semver';
import { PackageInvalidError } from '../../core/error.ts';

/** What a package needs of the Cloacina and the Node that run it. */
export interface Engine {
  /**
   * The version of the guest interface that the package was packed for; a runner serves its own and every older one.
   * Absent in packages that were packed before the interface had a version: they are of version 1.
   */
  readonly guestApi?: number | undefined;
  /** Version ranges (semver). */
  readonly cloacina: string;
  readonly node: string;
}

/**
 * The versions of the guest interface that this Cloacina serves. The guest interface is everything that the code of a
 * package meets when it runs: the exports of `cloacina`, `ctx`, the kinds of tasks and how their functions are called.
 * An addition leaves the number; a change that breaks code which was packed before raises `newest`. `oldest` stays, so
 * that packages of every earlier version run ([why](../../docs/decisions/guest-interface.md)).
 */
const served = { oldest: 1, newest: 1 } as const;

/** What runs packages here, as `checkEngine` compares it with what they ask for. */
export interface RunningEngine {
  readonly cloacina: string;
  readonly node: string;
  readonly guestApi: { readonly oldest: number; readonly newest: number };
}

/** The versions of this package, of Node, and of the guest interface. */
export function runningEngine(): RunningEngine {
  return { cloacina: ownPackage().version, node: process.versions.node, guestApi: served };
}

/** What a package asks for when its project does not say: this version of Cloacina or any later one, and the Node that it needs. */
export function defaultEngine(): Engine {
  const { version, engines } = ownPackage();
  return { guestApi: served.newest, cloacina: `>=${version}`, node: engines.node };
}

/** The range of npm that an application with this version uses: later patches of it, for a new project's dependency. */
export function ownRange(): string {
  return `^${ownPackage().version}`;
}

/**
 * Throws ENGINE_UNSUPPORTED unless the guest interface of the package is served here and both versions lie in its ranges
 * (a prerelease counts as its version).
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
 * The default range of packages that were packed before the guest interface had a version. Nobody chose it, so it
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

/** `package.json` lies two folders up, both from `src/package` and from `dist/package`. */
function ownPackage(): { version: string; engines: { node: string } } {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return JSON.parse(text) as { version: string; engines: { node: string } };
}

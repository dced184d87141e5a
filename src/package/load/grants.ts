import { CloacinaError, PackageInvalidError } from '../../core/error.ts';
import type { Kind } from '../../core/option-check.ts';
import { isName } from '../../core/text.ts';
import type { Manifest, Permissions } from '../archive/manifest.ts';

/** The permissions that a runner grants to packages that ask for them. */
export interface Grants {
  /**
   * Environment variables, such as `STRIPE_KEY`; `SHOP_*` grants a prefix, `*` all. Default none. They apply to every
   * package that this runner loads. `CLOACINA_*` is never granted.
   */
  readonly env?: readonly string[];
}

/** An entry of `Grants.env`. */
export const envGrant: Kind = {
  what: "the name of an environment variable, or a prefix such as 'SHOP_*'",
  fits: (value) => isName(value) && /^([^=\s*,]+\*?|\*)$/.test(value),
};

/** Returns true for the variables of Cloacina itself: they hold the runner's database, which packages must not see. */
function isOwnName(name: string): boolean {
  return /^cloacina_/i.test(name);
}

/** Throws PERMISSION_NOT_GRANTED if a package asks for variables that are not granted. */
export function checkGrants({ package: about, permissions }: Manifest, granted: readonly string[]): void {
  const missing = permissions.env.filter((name) => isOwnName(name) || !granted.some((grant) => covers(grant, name)));
  if (missing.length === 0) return;
  const names = missing.join(', ');
  throw new CloacinaError(
    'PERMISSION_NOT_GRANTED',
    `package ${about.name} v${about.version} asks for environment names that this runner does not grant: ${names}; ` +
      `start the runner with --allow-env ${missing.join(',')}, or with the option grants: { env: [${quoted(missing)}] }`,
  );
}

function covers(grant: string, name: string): boolean {
  return grant.endsWith('*') ? name.startsWith(grant.slice(0, -1)) : name === grant;
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(', ');
}

/** Throws MANIFEST_INVALID for a package that needs files: an isolate opens only its own, so it could never run. */
export function checkFileAccess({ package: about, permissions }: Manifest): void {
  for (const kind of ['read', 'write'] as const) {
    const [path] = permissions[kind];
    if (path === undefined) continue;
    const reason = `it asks to ${kind} '${path}', and an isolate may not access files outside its package`;
    throw new PackageInvalidError(
      'MANIFEST_INVALID',
      `package ${about.name} v${about.version} does not run: ${reason}`,
      { path: `permissions.${kind}`, reason },
    );
  }
}

/** The permissions of a version, and those that the previous version did not ask for. */
export interface Asked {
  readonly net: Permissions['net'];
  readonly env: readonly string[];
  readonly added: { readonly net: boolean; readonly env: readonly string[] };
}

function hosts(net: Permissions['net']): readonly string[] {
  if (typeof net !== 'boolean') return net;
  return net ? ['*'] : [];
}

/** Without a previous version, every permission is new. */
export function askedFor(now: Permissions, before: Permissions | undefined): Asked {
  const had = hosts(before?.net ?? false);
  const added = {
    net: !had.includes('*') && hosts(now.net).some((host) => !had.includes(host)),
    env: now.env.filter((name) => before === undefined || !before.env.includes(name)),
  };
  return { net: now.net, env: now.env, added };
}

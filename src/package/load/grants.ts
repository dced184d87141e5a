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
  /** The network, for every package that asks for it or for some hosts. Default false. */
  readonly net?: boolean;
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

/** Throws PERMISSION_NOT_GRANTED if a package asks for variables or a network that are not granted. */
export function checkGrants({ package: about, permissions }: Manifest, { env: granted, net }: Required<Grants>): void {
  const missing = permissions.env.filter((name) => isOwnName(name) || !granted.some((grant) => covers(grant, name)));
  const needsNet = asksForNet(permissions.net) && !net;
  const parts = [
    ...(missing.length > 0 ? [`environment names that this runner does not grant: ${missing.join(', ')}`] : []),
    ...(needsNet ? [`the network${hostsText(permissions.net)}, which this runner does not grant`] : []),
  ];
  if (parts.length === 0) return;
  const options = [...(missing.length > 0 ? [`env: [${quoted(missing)}]`] : []), ...(needsNet ? ['net: true'] : [])];
  throw new CloacinaError(
    'PERMISSION_NOT_GRANTED',
    `package ${about.name} v${about.version} asks for ${parts.join('; and for ')}; start the runner with ` +
      `${grantFlags(missing, needsNet)}, or with the option grants: { ${options.join(', ')} }`,
  );
}

/** Returns the options of the command line that grant variables and the network; '' for nothing. */
export function grantFlags(env: readonly string[], net: boolean): string {
  return [...(env.length > 0 ? [`--allow-env ${env.join(',')}`] : []), ...(net ? ['--allow-net'] : [])].join(' ');
}

/** True for a package that asks for the network, or for some hosts; Node opens all of it or nothing. */
export function asksForNet(net: Permissions['net']): boolean {
  return hosts(net).length > 0;
}

/** ` (api.example.org)` for a list of hosts, else ''. */
function hostsText(net: Permissions['net']): string {
  return typeof net === 'boolean' ? '' : ` (${net.join(', ')})`;
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

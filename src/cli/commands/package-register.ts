import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Option } from 'commander';
import type { Command } from 'commander';
import { durationMs, formatMs } from '../../core/duration.ts';
import { CloacinaError } from '../../core/error.ts';
import { indented, oneLine } from '../../core/plain.ts';
import type { AmbiguousName } from '../../package/registry/names.ts';
import type { Registered } from '../../package/registry/registry.ts';
import type { PackageView } from '../../package/registry/views.ts';
import type { Client } from '../../open.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { readBytes } from '../arguments.ts';
import { paint } from '../output.ts';
import { askedText, registeredDocument } from '../views.ts';

/** Registers a package file, and waits for runners if that is asked for. */
export function addRegisterCommand(noun: Command): void {
  noun
    .command('register')
    .description('publish a package file and use it for new executions')
    .argument('<file>', 'package file')
    .addOption(new Option('--no-activate', 'publish without activating').conflicts(['channel', 'wait']))
    .option(
      '--channel <name>',
      'channel to point to the version, also if that is registered already (default: live, for a new version only)',
    )
    .addOption(ambiguousOption())
    .option('--wait [duration]', 'wait until the runners have loaded the version, at most this long (default: 60s)')
    .option('--why <text>', 'reason to record in the registry log')
    .action(act(register));
}

export function ambiguousOption(): Option {
  return new Option(
    '--allow-ambiguous',
    'activate the version even if the short name of one of its workflows means another workflow now',
  );
}

interface RegisterOptions {
  readonly activate: boolean;
  readonly channel?: string;
  readonly allowAmbiguous?: boolean;
  readonly wait?: string | true;
  readonly why?: string;
}

const waitByDefault = '60s';

async function register(cli: Cli, file: string, { wait, ...options }: RegisterOptions): Promise<void> {
  const waitMs = wait === undefined ? 0 : durationMs(wait === true ? waitByDefault : wait, 'wait');
  const bytes = await readBytes(file);
  await cli.client(async (client) => {
    const done = await client.registry.register(bytes, options);
    if (isOnServer(cli) && cli.chosen.registry === undefined) cli.output.note(folderText(cli));
    if (waitMs > 0 && done.head?.version === done.version) await untilLoaded(cli, client, done, waitMs);
    cli.output.answer(registeredDocument(done), () => registeredText(done, options.activate));
  });
}

function isOnServer({ options }: Cli): boolean {
  return !options.database.startsWith('sqlite:');
}

function folderText({ options }: Cli): string {
  const folder = resolve(options.registry.replace(/^file:/, ''));
  return `The file is in ${oneLine(folder)} on this machine. Runners on other machines need the same folder: pass --registry or CLOACINA_REGISTRY.`;
}

function registeredText(done: Registered, activate: boolean): string {
  const { name, version, head } = done;
  const what = `${paint('bold', oneLine(`${name} v${version}`))} (${done.digest})`;
  const use = oneLine(`cloacina package activate ${name}@${version}`);
  const names = ambiguousText(done.ambiguous);
  if (!done.created) return `${what} is already registered${knownText(done, activate, use)}${names}`;
  const asked = indented(askedText(done.asks, '\nasks for '), 2);
  const env = done.asks.env.join(',');
  const needed = env === '' ? '' : `\n  runners must grant these: --allow-env ${env}`;
  return done.activated
    ? `Registered ${what}; new executions use it (channel ${oneLine(head!.channel)})${asked}${needed}${names}`
    : `Published ${what}; to use it: ${use}${asked}${needed}`;
}

/** The changes of a registration of the same bytes, and what it did not change. */
function knownText({ name, version, restored, activated, head }: Registered, activate: boolean, use: string): string {
  const repaired = restored ? '; its file was missing or damaged in the storage and is restored' : '';
  if (activated) return `${repaired}; channel ${oneLine(head!.channel)} points to it now`;
  if (!activate || head?.version === version) return repaired === '' ? '; nothing changed' : repaired;
  if (head === null) return `${repaired}; no channel live. To use this version: ${use}`;
  const stays = oneLine(`; channel ${head.channel} stays at v${head.version}`);
  return head.wantedVersion === version
    ? `${repaired}${stays} until this version loads. To see why it does not: cloacina package show ${oneLine(name)}`
    : `${repaired}${stays}. To use this version: ${use}`;
}

/** One line for each name; '' without one. */
export function ambiguousText(names: readonly AmbiguousName[]): string {
  return names
    .map(({ workflow, candidates }) => {
      return `\n  ${oneLine(`the name '${workflow}' is ambiguous now; use ${candidates.join(' or ')}`)}`;
    })
    .join('');
}

/** Between two looks at the conditions of the runners. */
const lookMs = 200;

/**
 * Waits until each runner that has versions of the package has loaded this one or failed to, and one has loaded it. Throws
 * PACKAGE_LOAD_FAILED if the channel went back or no runner can load it, PACKAGE_NOT_LOADED after `waitMs`.
 */
async function untilLoaded(
  cli: Cli,
  client: Client,
  { name, version, head }: Registered,
  waitMs: number,
): Promise<void> {
  const label = oneLine(`${name} v${version}`);
  const until = performance.now() + waitMs;
  for (;;) {
    const view = await client.registry.show(name);
    const found = loadOf(view, version);
    const now = view.channels[head!.channel];
    const failures = found.failed.map(({ runner, reason, message }) => `${reason} on ${runner}: ${message}`);
    if (now?.wanted === version || (found.failed.length > 0 && found.loaded + found.pending === 0)) {
      const stays = now?.wanted === version ? `; channel ${head!.channel} stays at v${now.version} until it does` : '';
      const why = failures[0] ?? `${now?.heldBack?.reason}: ${now?.heldBack?.message}`;
      throw new CloacinaError(
        'PACKAGE_LOAD_FAILED',
        `package ${label} is registered, but does not load: ${why}${stays}`,
      );
    }
    if (found.loaded > 0 && found.pending === 0) {
      for (const failure of failures) cli.output.note(oneLine(`${label} does not load everywhere: ${failure}`));
      return;
    }
    if (performance.now() >= until) {
      const which = found.runners === 0 ? 'no runner' : `${found.pending} of ${found.runners} runners have not`;
      const what = found.runners === 0 ? 'has loaded it' : 'loaded it';
      const message = `package ${label} is registered, but ${which} ${what} within ${formatMs(waitMs)}`;
      throw new CloacinaError('PACKAGE_NOT_LOADED', message);
    }
    await sleep(lookMs);
  }
}

interface Load {
  readonly runners: number;
  readonly loaded: number;
  readonly pending: number;
  readonly failed: readonly { readonly runner: string; readonly reason: string; readonly message: string }[];
}

/** How far the runners are that have versions of a package. */
function loadOf({ versions }: PackageView, version: string): Load {
  const all = new Set(versions.flatMap(({ runners }) => runners.map(({ runner }) => runner)));
  const here = versions.find((one) => one.version === version)?.runners ?? [];
  const failed = here.flatMap(({ name: runner, conditions }) => {
    const fault = conditions.find(({ status }) => !status);
    return fault === undefined ? [] : [{ runner, reason: fault.reason, message: fault.message ?? '' }];
  });
  return { runners: all.size, loaded: here.length - failed.length, pending: all.size - here.length, failed };
}

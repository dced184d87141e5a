import { basename } from 'node:path';
import type { Command } from 'commander';
import { oneLine } from '../../core/plain.ts';
import type { Manifest } from '../../package/archive/manifest.ts';
import type { Activated } from '../../package/registry/registry.ts';
import type { PackageView, PackageItem } from '../../package/registry/views.ts';
import { PackageNotFoundError } from '../../core/error.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { askedText, iso, packageDocument, packageItemDocument } from '../views.ts';
import { exactPackage, memoryOption, packageAt, readBytes, writeWhole, writing } from '../arguments.ts';
import { addRunCommand } from './package-run.ts';
import { buildProject, envFileOption } from './project-build.ts';
import type { BuildOptions } from './project-build.ts';
import { addRegisterCommand, ambiguousOption, ambiguousText } from './package-register.ts';
import { fields, paint, status, table, time } from '../output.ts';
import type { Cell } from '../output.ts';

interface WhyOption {
  readonly why?: string;
}

/** Packages: build, register and activate them. */
export function addPackageCommands(program: Command): void {
  const noun = program.command('package').description('build, register and manage packages of workflows');
  addBuilding(noun);
  addReading(noun);
  addActs(noun);
}

function addBuilding(noun: Command): void {
  noun
    .command('new')
    .description('create a project that is ready to pack and run')
    .argument('<dir>', 'folder to create; it must be new or empty')
    .option('--name <name>', 'name of the package (default: name of the folder)')
    .action(act(newProject));
  noun
    .command('pack')
    .description('build the package file of a project')
    .argument('<dir>', 'folder of the project')
    .option('-o, --output <file>', 'file to write (default: NAME-VERSION.cloacina)')
    .addOption(envFileOption())
    .addOption(memoryOption())
    .action(act(pack));
  addRunCommand(noun);
  noun
    .command('inspect')
    .description('check a package file and show its manifest without running its code')
    .argument('<file>', 'package file')
    .action(act(inspect));
}

function addReading(noun: Command): void {
  noun.command('list').description('list the versions of all packages').action(act(list));
  noun
    .command('show')
    .description('show the channels and versions of a package, and their state on each runner')
    .argument('<name[@version]>', 'package, or one version of it')
    .action(act(show));
}

function addActs(noun: Command): void {
  const why = ['--why <text>', 'reason to record in the registry log'] as const;
  const channel = ['--channel <name>', 'channel to move', 'live'] as const;
  addRegisterCommand(noun);
  noun
    .command('activate')
    .description('use a published version for new executions')
    .argument('<name@version>', 'version')
    .option(...channel)
    .addOption(ambiguousOption())
    .option(...why)
    .action(act(activate));
  noun
    .command('deactivate')
    .description('remove a channel of a package; its versions stay registered')
    .argument('<name>', 'package')
    .requiredOption('--channel <name>', 'channel to remove')
    .option(...why)
    .action(act(deactivate));
  noun
    .command('rollback')
    .description('go back to the previous healthy version')
    .argument('<name>', 'package')
    .option(...channel)
    .option(...why)
    .action(act(rollback));
  noun
    .command('yank')
    .description('refuse new executions of a version; existing executions continue')
    .argument('<name@version>', 'version')
    .option(...why)
    .action(act((cli, given: string, options: WhyOption) => yank(cli, given, options, 'yanked')));
  noun
    .command('unyank')
    .description('allow new executions of a yanked version again')
    .argument('<name@version>', 'version')
    .option(...why)
    .action(act((cli, given: string, options: WhyOption) => yank(cli, given, options, 'published')));
  noun
    .command('unregister')
    .description('delete one version or a whole package; deleted version numbers cannot be reused')
    .argument('<name[@version]>', 'package, or one version of it')
    .option(...why)
    .action(act(unregister));
}

async function newProject(cli: Cli, dir: string, options: { readonly name?: string }): Promise<void> {
  const { createProject, readProject } = await import('../../package/pack/project.ts');
  const made = await writing(dir, () => createProject(dir, options));
  const { version } = (await readProject(dir)).package;
  cli.output.answer({ dir, ...made, version }, () => {
    const shown = dir.includes(' ') ? `"${dir}"` : dir;
    const next = [`cloacina package pack ${shown}`, `cloacina package register ${fileName(made.name, version)}`];
    return [`Created project ${paint('bold', made.name)} in ${dir}:`, ...made.files.map((file) => `  ${file}`), 'Next:']
      .concat(next.map((command) => `  ${command}`))
      .join('\n');
  });
}

interface PackOptions extends BuildOptions {
  readonly output?: string;
}

async function pack(cli: Cli, dir: string, options: PackOptions): Promise<void> {
  const { built } = await buildProject(cli, dir, options);
  const { bytes, digest, manifest, warnings } = built;
  const { name, version } = manifest.package;
  const file = options.output ?? fileName(name, version);
  await writeWhole(file, bytes);
  const workflows = manifest.workflows.map((spec) => ({ name: spec.name, tasks: spec.tasks.map((task) => task.name) }));
  cli.output.answer({ file, bytes: bytes.length, digest, name, version, workflows, warnings }, () => {
    const lines = workflows.map((workflow) => `  ${workflow.name}: ${workflow.tasks.join(', ')}`);
    const packed = `Packed ${name} v${version} into ${file} (${bytes.length} bytes)`;
    return [packed, `  ${digest}`, ...lines].map(oneLine).join('\n');
  });
}

/** `@team/name` 1.0.0 -> `team-name-1.0.0.cloacina`, as npm names its files. */
function fileName(name: string, version: string): string {
  return `${name.replace(/^@/, '').replaceAll('/', '-')}-${version}.cloacina`;
}

async function inspect(cli: Cli, file: string): Promise<void> {
  const { readArchive } = await import('../../package/archive/archive.ts');
  const bytes = await readBytes(file);
  const { manifest, digest } = await readArchive(bytes);
  cli.output.answer({ ...manifest, digest, bytes: bytes.length }, () => {
    return `${manifestText(manifest, file, digest, bytes.length)}\n\n${workflowTable(manifest)}`;
  });
}

function manifestText(manifest: Manifest, file: string, digest: string, bytes: number): string {
  const { package: about, engine, permissions, files } = manifest;
  const asked = Object.entries(permissions).filter(([, value]) => value !== false && !isEmpty(value));
  return fields([
    ['package', { text: `${about.name} v${about.version}`, style: 'bold' }],
    ['description', about.description],
    ['authors', about.authors.join(', ')],
    ['license', about.license],
    ['repository', about.repository],
    ['file', `${basename(file)} (${bytes} bytes, ${Object.keys(files).length + 1} files)`],
    ['digest', digest],
    ['engine', `cloacina ${engine.cloacina}, node ${engine.node}, guest interface ${engine.guestApi ?? 1}`],
    ['permissions', asked.length === 0 ? 'none' : asked.map(([name, value]) => `${name}: ${String(value)}`).join('; ')],
  ]);
}

function workflowTable(manifest: Manifest): string {
  const rows = manifest.workflows.map((spec) => [
    spec.name,
    spec.tasks.map((task) => task.name).join(', '),
    spec.description ?? '',
  ]);
  return table(['WORKFLOW', 'TASKS', 'DESCRIPTION'], rows);
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

async function list(cli: Cli): Promise<void> {
  const items = await cli.client((client) => client.registry.list());
  cli.output.answer({ items: items.map(packageItemDocument) }, () => {
    if (items.length === 0) return 'No packages yet: cloacina package register FILE';
    return table(['PACKAGE', 'VERSION', 'ACTIVE', 'STATUS', 'REGISTERED', 'DIGEST'], items.map(itemRow));
  });
}

function itemRow({ name, version, active, status: word, registeredAt, digest }: PackageItem): Cell[] {
  const mark: Cell = active ? { text: 'yes', style: 'green' } : '';
  return [name, version, mark, status(word), time(registeredAt), digest.slice(0, 'sha256:'.length + 12)];
}

async function show(cli: Cli, given: string): Promise<void> {
  const { name, version } = packageAt(given);
  const found = await cli.client((client) => client.registry.show(name));
  const versions = found.versions.filter((each) => version === undefined || each.version === version);
  if (versions.length === 0) throw new PackageNotFoundError(name, version);
  const shown = { ...found, versions };
  cli.output.answer(packageDocument(shown), () => packageText(shown));
}

function packageText({ name, channels, versions }: PackageView): string {
  const heads = Object.entries(channels).map(([channel, head]) => `${channel} -> v${head.version}${heldText(head)}`);
  const rows = versions.map(({ version, status: word, registeredAt, workflows, permissions: { net, env }, digest }) => {
    const asks = oneLine(askedText({ net, env, added: { net: false, env: [] } }, ''));
    return [
      version,
      status(word),
      time(registeredAt),
      workflows.join(', '),
      asks,
      digest.slice(0, 'sha256:'.length + 12),
    ];
  });
  const runners = versions.flatMap(({ version, runners: of }) =>
    of.map(({ name: runner, conditions }) => {
      const last = conditions.find((condition) => !condition.status) ?? conditions.at(-1);
      const reached = last?.status === false ? `${last.condition}: ${last.reason}` : (last?.condition ?? '');
      return [runner, version, reached, last?.message ?? ''];
    }),
  );
  const parts = [
    fields([
      ['package', { text: name, style: 'bold' }],
      ['channels', heads.join(', ') || 'none'],
      [
        'held back',
        Object.values(channels)
          .flatMap(({ heldBack }) => heldBack?.message ?? [])
          .join('\n'),
      ],
    ]),
    table(['VERSION', 'STATUS', 'REGISTERED', 'WORKFLOWS', 'ASKS FOR', 'DIGEST'], rows),
  ];
  if (runners.length > 0) parts.push(table(['RUNNER', 'VERSION', 'CONDITION', 'MESSAGE'], runners));
  return parts.join('\n\n');
}

/** ` (wants v2.0.0: LoadFailed on worker-1)`; '' if the channel points where it was pointed. */
function heldText({ wanted, heldBack }: PackageView['channels'][string]): string {
  if (wanted === undefined) return '';
  return heldBack === undefined
    ? ` (wants v${wanted})`
    : ` (wants v${wanted}: ${heldBack.reason} on ${heldBack.runner})`;
}

interface ChannelOptions extends WhyOption {
  readonly channel: string;
  readonly allowAmbiguous?: boolean;
}

async function activate(cli: Cli, given: string, options: ChannelOptions): Promise<void> {
  const { name, version } = exactPackage(given);
  const head = await cli.client((client) => client.registry.activate(name, version, options));
  cli.output.answer({ name, ...channelDocument(head) }, () => channelText(name, options.channel, head));
}

async function rollback(cli: Cli, name: string, options: ChannelOptions): Promise<void> {
  const head = await cli.client((client) => client.registry.rollback(name, options));
  cli.output.answer({ name, ...channelDocument(head) }, () => channelText(name, options.channel, head));
}

function channelDocument({ channel, version, digest, serial, activatedAt, ambiguous }: Activated): object {
  return { channel, version, digest, serial, activatedAt: iso(activatedAt), ambiguous };
}

function channelText(name: string, channel: string, { version, ambiguous }: Activated): string {
  const points = `Channel ${oneLine(channel)} of ${oneLine(name)} points to ${paint('bold', oneLine(`v${version}`))}`;
  return `${points}${ambiguousText(ambiguous)}`;
}

async function deactivate(cli: Cli, name: string, { channel, ...options }: ChannelOptions): Promise<void> {
  const { version } = await cli.client((client) => client.registry.deactivate(name, channel, options));
  cli.output.answer({ name, channel, version }, () => {
    return oneLine(`Removed channel ${channel} of ${name}; it pointed to v${version}, which stays registered`);
  });
}

async function yank(cli: Cli, given: string, options: WhyOption, to: 'yanked' | 'published'): Promise<void> {
  const { name, version } = exactPackage(given);
  const ambiguous = await cli.client(async ({ registry }) => {
    if (to === 'published') return (await registry.unyank(name, version, options)).ambiguous;
    await registry.yank(name, version, options);
    return [];
  });
  cli.output.answer({ name, version, status: to, ...(to === 'yanked' ? {} : { ambiguous }) }, () => {
    const meaning = to === 'yanked' ? 'takes no new executions' : 'takes new executions again';
    return `${oneLine(`${name} v${version} ${meaning}`)}${ambiguousText(ambiguous)}`;
  });
}

async function unregister(cli: Cli, given: string, options: WhyOption): Promise<void> {
  const { name, version } = packageAt(given);
  const done = await cli.client((client) => client.registry.unregister(name, version, options));
  cli.output.answer(done, () => oneLine(`Deleted ${done.removed.map((removed) => `${name} v${removed}`).join(', ')}`));
}

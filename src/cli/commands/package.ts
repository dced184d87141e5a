import { basename } from 'node:path';
import { parseEnv } from 'node:util';
import type { Command } from 'commander';
import type { Json } from '../../core/json.ts';
import { indented, oneLine } from '../../core/plain.ts';
import type { Manifest, Permissions } from '../../package/archive/manifest.ts';
import { canCloseNetwork, openNetworkText } from '../../package/isolate/network.ts';
import { asksForNet, grantFlags } from '../../package/load/grants.ts';
import type { PackageView, PackageItem } from '../../package/registry/views.ts';
import { PackageNotFoundError } from '../../core/error.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { askedText, iso, packageDocument, packageItemDocument } from '../views.ts';
import { exactPackage, packageAt, readBytes, writeWhole, writing } from '../arguments.ts';
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
    .option('--env-file <file>', 'environment for code that reads it while loading; lines of NAME=VALUE')
    .action(act(pack));
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
  noun
    .command('register')
    .description('publish a package file and use it for new executions')
    .argument('<file>', 'package file')
    .option('--no-activate', 'publish without activating')
    .option(...channel)
    .option(...why)
    .action(act(register));
  noun
    .command('activate')
    .description('use a published version for new executions')
    .argument('<name@version>', 'version')
    .option(...channel)
    .option(...why)
    .action(act(activate));
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

interface PackOptions {
  readonly output?: string;
  readonly envFile?: string;
}

async function pack(cli: Cli, dir: string, options: PackOptions): Promise<void> {
  const [{ buildPackage }, { describeInIsolate }] = await Promise.all([
    import('../../package/pack/build.ts'),
    import('../describe.ts'),
  ]);
  const environment = options.envFile === undefined ? process.env : await withEnvFile(options.envFile);
  const { bytes, digest, manifest } = await buildPackage(dir, {
    describe: (code) => describeInIsolate(code, environment),
  });
  const { name, version } = manifest.package;
  const file = options.output ?? fileName(name, version);
  await writeWhole(file, bytes);
  const workflows = manifest.workflows.map((spec) => ({ name: spec.name, tasks: spec.tasks.map((task) => task.name) }));
  cli.output.answer({ file, bytes: bytes.length, digest, name, version, workflows }, () => {
    const lines = workflows.map((workflow) => `  ${workflow.name}: ${workflow.tasks.join(', ')}`);
    const packed = `Packed ${name} v${version} into ${file} (${bytes.length} bytes)`;
    return [packed, `  ${digest}`, ...lines].map(oneLine).join('\n');
  });
}

/** Like Node's option of the same name: variables of the environment take precedence. */
async function withEnvFile(file: string): Promise<NodeJS.ProcessEnv> {
  const text = Buffer.from(await readBytes(file)).toString('utf8');
  return { ...parseEnv(text), ...process.env };
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
  noteOpenNetwork(cli, [manifest.permissions.net]);
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

interface RegisterOptions extends WhyOption {
  readonly activate: boolean;
  readonly channel: string;
}

async function register(cli: Cli, file: string, options: RegisterOptions): Promise<void> {
  const bytes = await readBytes(file);
  const done = await cli.client((client) => client.registry.register(bytes, options));
  cli.output.answer(done, () => {
    const what = `${paint('bold', oneLine(`${done.name} v${done.version}`))} (${done.digest})`;
    if (!done.created) return `${what} is already registered; nothing changed`;
    const asked = indented(askedText(done.asks, '\nasks for '), 2);
    const flags = grantFlags(done.asks.env, asksForNet(done.asks.net));
    const needed = flags === '' ? '' : `\n  runners must grant these: ${flags}`;
    return done.activated
      ? `Registered ${what}; new executions use it (channel ${options.channel})${asked}${needed}`
      : `Published ${what}; to use it: cloacina package activate ${oneLine(`${done.name}@${done.version}`)}${asked}${needed}`;
  });
  noteOpenNetwork(cli, [done.asks.net]);
}

/** Notes that packages which ask for no network reach it all the same, if one does and this Node cannot close it. */
function noteOpenNetwork(cli: Cli, asked: readonly Permissions['net'][]): void {
  if (!canCloseNetwork() && !asked.every(asksForNet)) cli.output.note(openNetworkText);
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
  noteOpenNetwork(
    cli,
    versions.map(({ permissions }) => permissions.net),
  );
}

function packageText({ name, channels, versions }: PackageView): string {
  const heads = Object.entries(channels).map(([channel, head]) => `${channel} -> v${head.version}`);
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
    ]),
    table(['VERSION', 'STATUS', 'REGISTERED', 'WORKFLOWS', 'ASKS FOR', 'DIGEST'], rows),
  ];
  if (runners.length > 0) parts.push(table(['RUNNER', 'VERSION', 'CONDITION', 'MESSAGE'], runners));
  return parts.join('\n\n');
}

interface ChannelOptions extends WhyOption {
  readonly channel: string;
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

interface Head {
  readonly channel: string;
  readonly version: string;
  readonly digest: string;
  readonly serial: number;
  readonly activatedAt: number;
}

function channelDocument({ channel, version, digest, serial, activatedAt }: Head): { readonly [key: string]: Json } {
  return { channel, version, digest, serial, activatedAt: iso(activatedAt) };
}

function channelText(name: string, channel: string, head: Head): string {
  return `Channel ${oneLine(channel)} of ${oneLine(name)} points to ${paint('bold', oneLine(`v${head.version}`))}`;
}

async function yank(cli: Cli, given: string, options: WhyOption, to: 'yanked' | 'published'): Promise<void> {
  const { name, version } = exactPackage(given);
  await cli.client(({ registry }) => {
    return to === 'yanked' ? registry.yank(name, version, options) : registry.unyank(name, version, options);
  });
  cli.output.answer({ name, version, status: to }, () => {
    const meaning = to === 'yanked' ? 'takes no new executions' : 'takes new executions again';
    return oneLine(`${name} v${version} ${meaning}`);
  });
}

async function unregister(cli: Cli, given: string, options: WhyOption): Promise<void> {
  const { name, version } = packageAt(given);
  const done = await cli.client((client) => client.registry.unregister(name, version, options));
  cli.output.answer(done, () => oneLine(`Deleted ${done.removed.map((removed) => `${name} v${removed}`).join(', ')}`));
}

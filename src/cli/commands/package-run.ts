import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Command } from 'commander';
import { fullWorkflowName } from '../../core/definition/workflow-name.ts';
import { nearNames } from '../../core/suggest.ts';
import { CloacinaError, WorkflowNotFoundError } from '../../core/error.ts';
import type { Runner } from '../../open.ts';
import type { Manifest } from '../../package/archive/manifest.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { UsageError } from '../failure.ts';
import { memoryOption, readInput, writing } from '../arguments.ts';
import { Interruption, interruptedExit } from '../interruption.ts';
import type { TaskView } from '../task-view.ts';
import { Loading } from './loading.ts';
import { buildProject, envFileOption } from './project-build.ts';
import type { BuildOptions } from './project-build.ts';
import { printing, seeThrough, viewOf } from './seen-through.ts';

/** Runs a workflow of a project without a package file, a database or a registry. */
export function addRunCommand(noun: Command): void {
  noun
    .command('run')
    .description('build a project and run one of its workflows in memory; nothing is registered or stored')
    .argument('<dir>', 'folder of the project')
    .argument('[workflow]', 'workflow of the project (default: the only one)')
    .option('--input <json>', 'input as JSON, @FILE to read a file, or @- to read stdin (default: {})')
    .addOption(envFileOption())
    .addOption(memoryOption())
    .action(act(runProject));
}

interface RunOptions extends BuildOptions {
  readonly input?: string;
}

async function runProject(cli: Cli, dir: string, workflow: string | undefined, options: RunOptions): Promise<void> {
  const input = options.input === undefined ? {} : await readInput(options.input);
  const { built, environment } = await buildProject(cli, dir, options);
  const { manifest, bytes } = built;
  const { packageMemory } = options;
  const { name } = manifest.package;
  const wanted = chosen(manifest, workflow);
  // the process of the package gets its variables from this one
  for (const [key, value] of Object.entries(environment)) process.env[key] ??= value;
  const folder = await writing(tmpdir(), () => mkdtemp(join(tmpdir(), 'cloacina-run-')));
  const [library, { stderrLogger }] = await Promise.all([import('../../open.ts'), import('../../engine/logger.ts')]);
  using interruption = new Interruption();
  const loading = new Loading(name, () => undefined);
  const shown: { view: TaskView | null } = { view: null };
  let runner: Runner | undefined;
  try {
    runner = await library.Runner.open('sqlite::memory:', {
      ...cli.place,
      registry: pathToFileURL(folder).href,
      // the code of the person who runs it
      grants: { env: manifest.permissions.env },
      ...(packageMemory === undefined ? {} : { packageMemory }),
      schedules: false,
      logger: loading.quiet(printing(cli, () => shown.view, stderrLogger)),
      onPackage: (event) => loading.happened(event),
      onProgress: ({ task, done, text }) => shown.view?.progress(task, done, text),
    });
    await runner.registry.register(bytes);
    const entry = await runner.workflows.get(fullWorkflowName(name, wanted));
    const { id } = await runner.start(fullWorkflowName(name, wanted), input);
    const { signal } = interruption;
    shown.view = viewOf(cli, entry);
    const ended = await seeThrough(cli, runner, entry, { id, view: shown.view, signal, loading, isKept: false });
    if (typeof ended === 'object') throw new CloacinaError(ended.code, ended.why);
    if (ended === 'ended') return;
    process.exitCode = interruptedExit;
    cli.output.note('Interrupted. Nothing of the execution is kept.');
  } finally {
    await runner?.close({ drain: 0 });
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Throws USAGE, WORKFLOW_NOT_FOUND. */
function chosen({ workflows }: Manifest, given: string | undefined): string {
  const names = workflows.map((spec) => spec.name);
  if (given !== undefined) {
    if (names.includes(given)) return given;
    throw new WorkflowNotFoundError(given, nearNames(given, names));
  }
  if (names.length === 1) return names[0]!;
  throw new UsageError(`the project has ${names.length} workflows; name one of them: ${names.join(', ')}`);
}

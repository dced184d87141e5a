import { Option } from 'commander';
import type { Command } from 'commander';
import { durationMs, formatMs } from '../../core/duration.ts';
import { errorDocument } from '../../core/error.ts';
import type { CloacinaError } from '../../core/error.ts';
import { defaultQueue } from '../../core/definition/graph.ts';
import type { Json } from '../../core/json.ts';
import { shownUrl } from '../../core/shown-url.ts';
import { oneLine } from '../../core/plain.ts';
import type { RunnerEvent } from '../../engine/hooks.ts';
import type { PackageMemory } from '../../options.ts';
import type { PackageEvent } from '../../package/load/reconciler.ts';
import type { RegistryVerbs } from '../../package/registry/registry.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { checkDropFolder, watchDropFolder } from '../drop-folder.ts';
import { askedDocument, askedText } from '../views.ts';
import { coded, report } from '../failure.ts';
import { addPackageOptions, queueNames, wholeNumber } from '../arguments.ts';
import { Interruption } from '../interruption.ts';
import { paint, short } from '../output.ts';
import type { Style } from '../output.ts';
import { outputLogger, outputText } from '../package-output.ts';
import type { PackageOutput } from '../package-output.ts';

/** The runner: runs executions and fires schedules until it is stopped. */
export function addRunnerCommand(program: Command): void {
  const command = program
    .command('runner')
    .description('run executions and fire schedules until Ctrl-C; with --json one event per line, the first is `ready`')
    .option('--name <name>', 'name shown in listings (default: host name)')
    .option('--concurrency <n>', 'maximum number of task functions at once', wholeNumber(1), 64)
    .addOption(
      new Option('--queue <names...>', 'queue to serve; repeatable (default: the queue `default`)')
        .env('CLOACINA_QUEUES')
        .argParser(queueNames),
    )
    .option('--drain <duration>', 'how long running tasks may take to finish after Ctrl-C', '10s')
    .option('--watch <dir>', 'register package files in this folder, now and when they appear');
  addPackageOptions(command).action(act(runner));
}

interface RunnerCommandOptions {
  readonly name?: string;
  readonly concurrency: number;
  readonly queue?: readonly string[];
  readonly drain: string;
  readonly watch?: string;
  readonly allowEnv?: readonly string[];
  readonly packageMemory?: PackageMemory;
}

async function runner(cli: Cli, options: RunnerCommandOptions): Promise<void> {
  const [{ Runner }, { stderrLogger }] = await Promise.all([import('../../open.ts'), import('../../engine/logger.ts')]);
  durationMs(options.drain, 'drain'); // refused before anything runs
  if (options.watch !== undefined) await checkDropFolder(options.watch);
  const journal = new RunnerJournal(cli);
  const stopped = Promise.withResolvers<never>();
  stopped.promise.catch(() => undefined); // it may reject when the race is over
  const ending = new AbortController();
  using interruption = new Interruption().also(cli.output.closed);
  const running = await Runner.open(cli.options.database, {
    ...cli.place,
    concurrency: options.concurrency,
    ...(options.queue === undefined ? {} : { queues: options.queue }),
    grants: { env: options.allowEnv ?? [] },
    ...(options.packageMemory === undefined ? {} : { packageMemory: options.packageMemory }),
    ...(options.name === undefined ? {} : { name: options.name }),
    logger: outputLogger((output) => journal.output(output), stderrLogger),
    onEvent: (event) => journal.execution(event),
    onPackage: (event) => journal.package(event),
    onStopped: (error) => {
      ending.abort();
      stopped.reject(error);
    },
  });
  const database = shownUrl(cli.options.database);
  const registry = shownUrl(cli.options.registry);
  try {
    journal.say('ready', `runner ${running.id} is ready, on ${database} and ${registry}; press Ctrl-C to stop`, {
      runner: running.id,
      database,
      registry,
      queues: options.queue ?? [defaultQueue],
    });
    const signal = AbortSignal.any([interruption.signal, ending.signal]);
    const until =
      options.watch === undefined ? interruption.happened : watch(options.watch, running.registry, journal, signal);
    await Promise.race([stopped.promise, until]);
    journal.say(
      'closing',
      'closing: running tasks may finish, everything else is released; press Ctrl-C again to stop at once',
    );
  } catch (error) {
    report(error, cli.output.json); // before the close, which may take long: the last line is `closed`
  } finally {
    await running.close({ drain: options.drain });
  }
  journal.say('closed', 'closed');
}

async function watch(dir: string, registry: RegistryVerbs, journal: RunnerJournal, signal: AbortSignal): Promise<void> {
  await watchDropFolder(dir, {
    register: (bytes) => registry.register(bytes),
    onRegistered: (file, { name, version, created, asks }) => {
      if (!created) return;
      const text = `${name} v${version} registered from ${file}${askedText(asks, '; it asks for ')}`;
      journal.say('package.registered', text, { file, name, version, asks: askedDocument(asks) });
    },
    onRefused: (file, error) => {
      journal.failed('package.refused', `${file} refused`, error, { file });
    },
    onDelayed: (file, error) => {
      journal.failed('package.delayed', `${file} could not be registered; retrying`, error, { file });
    },
    onLost: (error) => {
      journal.failed('watch.lost', `${dir} is missing; waiting for it`, error, { dir });
    },
    onFound: () => {
      journal.say('watch.found', `${dir} is available again`, { dir });
    },
    signal,
  });
}

const executionStyles: Readonly<Record<string, Style>> = {
  'execution.completed': 'green',
  'execution.failed': 'red',
  'execution.cancelled': 'yellow',
  'task.failed': 'red',
  'task.retrying': 'yellow',
};

/** The events shown as text; `--json` has every event. */
const shownEvents: ReadonlySet<string> = new Set([
  'execution.created',
  'execution.adopted',
  'execution.released',
  ...Object.keys(executionStyles),
]);

/** Prints the events of a runner. */
class RunnerJournal {
  readonly #cli: Cli;
  #isHeard = true;

  constructor(cli: Cli) {
    this.#cli = cli;
  }

  say(event: string, text: string, detail: { readonly [field: string]: Json } = {}, style: Style | null = null): void {
    const at = Date.now();
    this.#line(event, at, detail, text, style);
  }

  failed(event: string, text: string, error: CloacinaError, detail: { readonly [field: string]: Json }): void {
    this.say(event, `${text}: ${error.message}`, { ...detail, error: errorDocument(error) as Json }, 'red');
  }

  execution({ type, at, seq, executionId, workflow, task, attempt, data }: RunnerEvent): void {
    const detail = { executionId, workflow, seq, task, attempt, data };
    const who = task === null ? '' : ` ${task}`;
    const said = data === null ? '' : ` ${short(data, 160)}`;
    if (!this.#cli.output.json && !shownEvents.has(type)) return;
    this.#line(type, at, detail, `${workflow} ${executionId} ${type}${who}${said}`, executionStyles[type] ?? null);
  }

  output(output: PackageOutput): void {
    const { package: label, stream, line, attempt: which } = output;
    const { executionId, task, item, attempt } = which ?? { executionId: null, task: null, item: null, attempt: null };
    const at = label.lastIndexOf(' v');
    const detail = { name: label.slice(0, at), version: label.slice(at + ' v'.length), stream, line };
    const where = executionId === null ? '' : `${label} ${executionId} `;
    this.say('package.output', `${where}${outputText(output)}`, { ...detail, executionId, task, item, attempt });
  }

  package(event: PackageEvent): void {
    const { event: name, ...detail } = event;
    const which = `${event.name} v${event.version}`;
    switch (event.event) {
      case 'package.loaded':
        this.say(name, `${which} loaded in ${formatMs(event.ms)}`, detail, 'green');
        break;
      case 'package.failed': {
        const again = event.retryInMs === null ? 'not retried' : `retry in ${formatMs(event.retryInMs)}`;
        this.say(name, `${which} failed to load: ${event.message} (${event.code}); ${again}`, detail, 'red');
        break;
      }
      case 'package.quarantined':
        this.say(name, `${which} is quarantined: ${event.message}`, detail, 'red');
        break;
      case 'package.unloaded':
        this.say(name, `${which} unloaded`, detail);
    }
  }

  #line(event: string, at: number, detail: object, text: string, style: Style | null): void {
    const when = new Date(at).toISOString();
    try {
      this.#cli.output.item({ event, at: when, ...detail }, () => {
        const shown = oneLine(text);
        return `${paint('dim', when.slice(11, 23))} ${style === null ? shown : paint(style, shown)}`;
      });
      this.#isHeard = true;
    } catch (error) {
      // a failed output must not stop the runner
      if (this.#isHeard) this.#cli.output.note(`${oneLine(coded(error).message)}; the runner continues`);
      this.#isHeard = false;
    }
  }
}

import type { Command } from 'commander';
import { Option } from 'commander';
import { formatMs } from '../../core/duration.ts';
import { executionStatuses } from '../../core/execution/states.ts';
import { indented, oneLine, plain } from '../../core/plain.ts';
import type { ExecutionStatus } from '../../core/execution/states.ts';
import type {
  ExecutionDetail,
  ExecutionEvent,
  ExecutionLog,
  ExecutionSummary,
} from '../../engine/client/execution-queries.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import type { Controlled } from '../../engine/client/execution-commands.ts';
import type { Client } from '../../open.ts';
import { errorLines, errorSummary } from '../error-lines.ts';
import { eventDocument, executionDocument, executionItem, logDocument } from '../views.ts';
import { moment, pair, readInput, wholeNumber } from '../arguments.ts';
import { fields, paint, short, status, table, time } from '../output.ts';
import type { Cell } from '../output.ts';

/** Executions: list, follow and control them. */
export function addExecutionCommands(program: Command): void {
  const noun = program.command('execution').description('list, follow and control executions');
  noun
    .command('list')
    .description('list executions, newest first')
    .addOption(new Option('--status <status>', 'only executions in this state').choices([...executionStatuses]))
    .option('--workflow <name>', 'only executions of this workflow: name, package/name or embedded/name')
    .option('--parent <id>', 'only children of this execution')
    .option('--since <time>', 'only executions created at or after this time (ISO 8601)', moment)
    .option('--tag <name=value>', 'only executions with this tag; repeatable', pair, {})
    .option('--limit <n>', 'maximum number of rows, 1 to 1000', wholeNumber(1), 50)
    .option('--after <cursor>', 'start after this cursor: `next` of the previous page')
    .action(act(list));
  noun.command('show').description('show an execution with its tasks').argument('<id>', 'execution').action(act(show));
  noun
    .command('events')
    .description('list the events of an execution')
    .argument('<id>', 'execution')
    .option('-f, --follow', 'print events until the execution ends; with --json one event per line')
    .option('--after <seq>', 'only events after this number', wholeNumber(0), 0)
    .option('--limit <n>', 'maximum number of events; ignored with --follow', wholeNumber(1))
    .action(act(events));
  noun
    .command('logs')
    .description('list the log lines of an execution')
    .argument('<id>', 'execution')
    .option('--task <name>', 'only lines of this task')
    .action(act(logs));
  addControlCommands(noun);
}

function addControlCommands(noun: Command): void {
  const verb = (
    name: ControlVerb,
    description: string,
    ask: (client: Client, id: string) => Promise<Controlled>,
  ): void => {
    noun
      .command(name)
      .description(description)
      .argument('<id>', 'execution')
      .action(act((cli: Cli, id: string) => control(cli, name, id, (client) => ask(client, id))));
  };
  verb('cancel', 'cancel an execution and its children', (client, id) => client.cancel(id));
  verb('pause', 'stop starting tasks; running tasks may finish', (client, id) => client.pause(id));
  verb('resume', 'resume a paused execution', (client, id) => client.resume(id));
  const retrying = noun
    .command('retry')
    .description('retry a failed or cancelled execution; completed tasks are kept')
    .argument('<id>', 'execution');
  versionOptions(retrying).action(act(retry));
  const forking = noun
    .command('fork')
    .description('start a copy that runs again from one task and reuses everything before it')
    .argument('<id>', 'execution')
    .requiredOption('--from <task>', 'first task to run again');
  versionOptions(forking).action(act(fork));
  noun
    .command('signal')
    .description('send a signal to an execution')
    .argument('<id>', 'execution')
    .argument('<name>', 'signal')
    .option('--payload <json>', 'payload as JSON, @FILE to read a file, or @- to read stdin (default: null)')
    .action(act(signal));
}

function versionOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--version <version>',
        'version of the package to continue with, or a digest or channel of it (default: the version of the execution)',
      ).conflicts('live'),
    )
    .option('--live', 'continue with the version that the live channel points to');
}

interface ListOptions {
  readonly status?: ExecutionStatus;
  readonly workflow?: string;
  readonly parent?: string;
  readonly since?: Date;
  readonly tag: Readonly<Record<string, string>>;
  readonly limit: number;
  readonly after?: string;
}

async function list(cli: Cli, { tag, ...options }: ListOptions): Promise<void> {
  const { items, next } = await cli.client((client) => client.executions.list({ ...options, tags: tag }));
  cli.output.answer({ items: items.map(executionItem), next }, () => {
    if (items.length === 0) return 'No executions.';
    return table(['ID', 'WORKFLOW', 'PACKAGE', 'STATUS', 'CREATED', 'TOOK', 'ERROR'], items.map(executionRow));
  });
  if (next !== null && !cli.output.json) cli.output.note(`More results: add --after ${next}`);
}

function executionRow(execution: ExecutionSummary): Cell[] {
  const { id, workflow, package: from, version, status: word, createdAt, error } = execution;
  const origin = from === null ? '' : `${from} v${version}`;
  return [
    id,
    workflow,
    origin,
    status(word),
    time(createdAt),
    took(execution),
    error === null ? '' : errorSummary(error),
  ];
}

function took({ startedAt, endedAt }: { readonly startedAt: number | null; readonly endedAt: number | null }): string {
  return startedAt === null || endedAt === null ? '' : formatMs(endedAt - startedAt);
}

async function show(cli: Cli, id: string): Promise<void> {
  const execution = await cli.client((client) => client.executions.get(id));
  cli.output.answer(executionDocument(execution), () => executionText(execution));
}

const pauseReasons: Readonly<Record<string, string>> = {
  DEFINITION_CHANGED: 'because its definition changed (DEFINITION_CHANGED)',
  CRASH_LOOP: 'because loading it crashed several runners (CRASH_LOOP)',
};

function executionText(execution: ExecutionDetail): string {
  const { package: from, version, schedule, error, tags, parent, forked } = execution;
  const head = fields([
    ['execution', { text: execution.id, style: 'bold' }],
    ['workflow', from === null ? execution.workflow : `${execution.workflow} (${from} v${version})`],
    ['status', status(execution.status)],
    ['paused', execution.reason === null ? null : (pauseReasons[execution.reason] ?? execution.reason)],
    ['created', time(execution.createdAt)],
    ['started', time(execution.startedAt)],
    ['ended', time(execution.endedAt)],
    ['took', took(execution)],
    ['parent', parent === null ? null : `${parent.id}, task ${parent.task}`],
    ['forked', forked === null ? null : `from ${forked.from}, task ${forked.task}`],
    ['schedule', schedule === null ? null : `${schedule.name}, slot ${time(schedule.slot)}`],
    [
      'tags',
      Object.entries(tags)
        .map(([name, value]) => `${name}=${value}`)
        .join(', '),
    ],
    ['input', short(execution.input)],
    ['output', execution.status === 'completed' ? short(execution.output) : null],
    ['error', error === null ? null : { text: `${error.message} (${error.code})`, style: 'red' }],
  ]);
  const rows = execution.tasks.map((task): Cell[] => {
    const said =
      (task.error === null ? null : errorSummary(task.error)) ??
      (task.queue === null ? null : `waiting for a runner that serves queue ${task.queue}`) ??
      (task.items === null || task.status === 'completed' ? null : itemsText(task.items)) ??
      task.reason?.replaceAll('_', ' ') ??
      (task.output === null ? '' : short(task.output, 60));
    return [task.name, status(task.status), task.attempt === 0 ? '' : String(task.attempt), took(task), said];
  });
  const parts = [head];
  if (rows.length > 0) parts.push(table(['TASK', 'STATUS', 'ATTEMPT', 'TOOK', 'RESULT'], rows));
  return [...parts, ...errorTexts(execution)].join('\n\n');
}

/** The errors of an execution that have more to them than their message: the error of each task, and one of no task. */
function errorTexts({ error, tasks }: ExecutionDetail): readonly string[] {
  const texts = tasks.flatMap((task) => {
    return task.error === null ? [] : [{ title: `task ${oneLine(task.name)}`, error: task.error }];
  });
  const isOfTask = tasks.some((task) => JSON.stringify(task.error) === JSON.stringify(error));
  if (error !== null && !isOfTask) texts.unshift({ title: 'execution', error });
  return texts.flatMap(({ title, error: shown }) => {
    const [first = '', ...rest] = errorLines(shown, true);
    return rest.length === 0 ? [] : [[`${title}: ${first}`, ...rest].map((line) => indented(line)).join('\n')];
  });
}

function itemsText({ total, ...counts }: NonNullable<ExecutionDetail['tasks'][number]['items']>): string {
  const states = Object.entries(counts).map(([state, count]) => `${count} ${state}`);
  return `${total} items: ${states.join(', ')}`;
}

interface EventsOptions {
  readonly follow?: boolean;
  readonly after: number;
  readonly limit?: number;
}

async function events(cli: Cli, id: string, { follow = false, after, limit }: EventsOptions): Promise<void> {
  const { output } = cli;
  if (follow) {
    await cli.client(async (client) => {
      for await (const event of client.executions.watch(id, { after, signal: output.closed })) {
        output.item(eventDocument(event), () => eventLine(event));
      }
    });
    return;
  }
  const paging = limit === undefined ? { after } : { after, limit };
  const items = await cli.client((client) => client.executions.events(id, paging));
  output.answer({ items: items.map(eventDocument) }, () => items.map(eventLine).join('\n'));
}

function eventLine({ seq, type, task, item, attempt, at, data }: ExecutionEvent): string {
  const clock = new Date(at).toISOString().slice(11, 23);
  const who =
    task === null
      ? ''
      : ` ${oneLine(task)}${item === null ? '' : `[${item}]`}${attempt !== null && attempt > 1 ? ` #${attempt}` : ''}`;
  const said = data === null ? '' : `  ${paint('dim', plain(short(data, 160)))}`;
  return `${paint('dim', String(seq).padStart(5))} ${clock} ${oneLine(type)}${who}${said}`;
}

async function logs(cli: Cli, id: string, options: { readonly task?: string }): Promise<void> {
  const items = await cli.client((client) => client.executions.logs(id, options));
  cli.output.answer({ items: items.map(logDocument) }, () => {
    return items.length === 0 ? 'No log lines.' : items.map(logLine).join('\n');
  });
}

function logLine({ task, item, attempt, at, level, message, data }: ExecutionLog): string {
  const clock = new Date(at).toISOString().slice(11, 23);
  const who = `${oneLine(task)}${item === null ? '' : `[${item}]`}${attempt > 1 ? ` #${attempt}` : ''}`;
  const more = data === null ? '' : `  ${paint('dim', plain(short(data, 160)))}`;
  return `${clock} ${level.padEnd(5)} ${who}: ${indented(message)}${more}`;
}

type ControlVerb = 'cancel' | 'pause' | 'resume';

/** A runner that owns the execution has yet to act on `cancelling` and `pausing`. */
const answers: Readonly<Record<string, string>> = {
  cancel: 'Cancelled execution',
  cancelling: 'Cancelling execution',
  pause: 'Paused execution',
  pausing: 'Pausing execution, running tasks may finish:',
  resume: 'Resumed execution',
};

async function control(
  cli: Cli,
  verb: ControlVerb,
  id: string,
  ask: (client: Client) => Promise<Controlled>,
): Promise<void> {
  const done = await cli.client(ask);
  cli.output.answer(done, () => `${answers[done.status] ?? answers[verb]} ${id}`);
}

interface VersionOptions {
  readonly version?: string;
  readonly live?: boolean;
}

async function retry(cli: Cli, id: string, options: VersionOptions): Promise<void> {
  const { done, version } = await cli.client(async (client) => {
    return { done: await client.retry(id, options), version: await chosenVersion(client, id, options) };
  });
  cli.output.answer({ ...done, ...version }, () => `Retrying execution ${id}${versionText(version)}`);
}

async function fork(
  cli: Cli,
  id: string,
  { from, ...options }: { readonly from: string } & VersionOptions,
): Promise<void> {
  const { forked, version } = await cli.client(async (client) => {
    const started = await client.fork(id, { from, ...options });
    return { forked: started.id, version: await chosenVersion(client, started.id, options) };
  });
  const document = { id: forked, status: 'pending', from: id, task: from, ...version };
  cli.output.answer(document, () => {
    return `Started execution ${forked} from task ${oneLine(from)} of execution ${id}${versionText(version)}`;
  });
}

interface ChosenVersion {
  readonly package: string | null;
  readonly version: string | null;
}

/** The version of an execution, if the command line chose one. */
async function chosenVersion(client: Client, id: string, options: VersionOptions): Promise<ChosenVersion | null> {
  if (options.version === undefined && options.live !== true) return null;
  const { package: from, version } = await client.executions.get(id);
  return { package: from, version };
}

function versionText(chosen: ChosenVersion | null): string {
  return chosen === null ? '' : oneLine(` with ${chosen.package} v${chosen.version}`);
}

async function signal(cli: Cli, id: string, name: string, options: { readonly payload?: string }): Promise<void> {
  const payload = options.payload === undefined ? null : await readInput(options.payload, '--payload');
  const done = await cli.client((client) => client.signal(id, name, payload));
  cli.output.answer(done, () => `Sent signal '${oneLine(name)}' to execution ${id}`);
}

import type { Command } from 'commander';
import { Option } from 'commander';
import { formatMs } from '../../core/duration.ts';
import { executionStatuses } from '../../core/execution.ts';
import { indented, oneLine, plain } from '../../core/plain.ts';
import type { ExecutionStatus } from '../../core/execution.ts';
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
import { eventDocument, executionDocument, executionItem, logDocument } from '../views.ts';
import { moment, pair, readInput, wholeNumber } from '../arguments.ts';
import { fields, paint, short, status, table, time } from '../output.ts';
import type { Cell } from '../output.ts';

/** Commands that show, follow and control executions. */
export function addExecutionCommands(program: Command): void {
  const noun = program.command('execution').description('look at executions, follow and control them');
  noun
    .command('list')
    .description('list executions, the newest first')
    .addOption(new Option('--status <status>', 'only those in this state').choices([...executionStatuses]))
    .option('--workflow <name>', 'only those of this workflow')
    .option('--parent <id>', 'only those that tasks of this execution have started')
    .option('--since <time>', 'only those created since then (ISO 8601)', moment)
    .option('--tag <name=value>', 'only those with this tag; may be given again', pair, {})
    .option('--limit <n>', 'at most so many, 1 to 1000', wholeNumber(1), 50)
    .option('--after <cursor>', 'the page after this one: `next` of the page before')
    .action(act(list));
  noun.command('show').description('show an execution with its tasks').argument('<id>', 'execution').action(act(show));
  noun
    .command('events')
    .description('list what happened to an execution')
    .argument('<id>', 'execution')
    .option('-f, --follow', 'go on until it has ended; with --json one event a line')
    .option('--after <seq>', 'only events after this number', wholeNumber(0), 0)
    .option('--limit <n>', 'at most so many; not with --follow', wholeNumber(1))
    .action(act(events));
  noun
    .command('logs')
    .description('list what the tasks of an execution logged')
    .argument('<id>', 'execution')
    .option('--task <name>', 'only lines of this task')
    .action(act(logs));
  addControlCommands(noun);
}

function addControlCommands(noun: Command): void {
  const verb = (name: string, description: string, ask: (client: Client, id: string) => Promise<Controlled>): void => {
    noun
      .command(name)
      .description(description)
      .argument('<id>', 'execution')
      .action(act((cli: Cli, id: string) => control(cli, id, (client) => ask(client, id))));
  };
  verb('cancel', 'cancel an execution and the children it waits for, whoever runs it', (client, id) =>
    client.cancel(id),
  );
  verb('pause', 'let nothing new start; what runs may end', (client, id) => client.pause(id));
  verb('resume', 'let a paused execution go on', (client, id) => client.resume(id));
  verb('retry', 'let one that failed or was cancelled go on; what completed stays', (client, id) => client.retry(id));
  noun
    .command('fork')
    .description('start a new execution that reuses what does not come after a task')
    .argument('<id>', 'execution')
    .requiredOption('--from <task>', 'the first task that runs again')
    .action(act(fork));
  noun
    .command('signal')
    .description('hand a signal to an execution')
    .argument('<id>', 'execution')
    .argument('<name>', 'signal')
    .option('--payload <json>', 'JSON, @FILE with JSON in it, or @- for stdin; default null')
    .action(act(signal));
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
  if (next !== null && !cli.output.json) cli.output.note(`More: the same with --after ${next}`);
}

function executionRow(execution: ExecutionSummary): Cell[] {
  const { id, workflow, package: from, version, status: word, createdAt, error } = execution;
  const origin = from === null ? '' : `${from} v${version}`;
  return [id, workflow, origin, status(word), time(createdAt), took(execution), error?.message ?? ''];
}

function took({ startedAt, endedAt }: { readonly startedAt: number | null; readonly endedAt: number | null }): string {
  return startedAt === null || endedAt === null ? '' : formatMs(endedAt - startedAt);
}

async function show(cli: Cli, id: string): Promise<void> {
  const execution = await cli.client((client) => client.executions.get(id));
  cli.output.answer(executionDocument(execution), () => executionText(execution));
}

function executionText(execution: ExecutionDetail): string {
  const { package: from, version, schedule, error, tags, parent, forked } = execution;
  const head = fields([
    ['execution', { text: execution.id, style: 'bold' }],
    ['workflow', from === null ? execution.workflow : `${execution.workflow} (${from} v${version})`],
    ['status', status(execution.status)],
    ['paused', execution.reason === null ? null : `since ${execution.reason}`],
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
      task.error?.message ??
      (task.queue === null ? null : `waits for a runner of the queue ${task.queue}`) ??
      (task.items === null || task.status === 'completed' ? null : itemsText(task.items)) ??
      task.reason?.replaceAll('_', ' ') ??
      (task.output === null ? '' : short(task.output, 60));
    return [task.name, status(task.status), task.attempt === 0 ? '' : String(task.attempt), took(task), said];
  });
  return rows.length === 0 ? head : `${head}\n\n${table(['TASK', 'STATUS', 'ATTEMPT', 'TOOK', 'RESULT'], rows)}`;
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

/** The command in progress, for executions whose owner still has to apply it. */
const underWay: Readonly<Record<string, string>> = {
  cancelling: 'is being cancelled by its runner',
  pausing: 'is being paused: nothing new starts, what runs may end',
};

async function control(cli: Cli, id: string, ask: (client: Client) => Promise<Controlled>): Promise<void> {
  const done = await cli.client(ask);
  cli.output.answer(done, () => `Execution ${id} ${underWay[done.status] ?? `is ${done.status}`}`);
}

async function fork(cli: Cli, id: string, { from }: { readonly from: string }): Promise<void> {
  const forked = await cli.client((client) => client.fork(id, { from }));
  const document = { id: forked.id, status: 'pending', from: id, task: from };
  cli.output.answer(
    document,
    () => `Execution ${forked.id} begins at ${oneLine(from)}, with what ${id} has done before it`,
  );
}

async function signal(cli: Cli, id: string, name: string, options: { readonly payload?: string }): Promise<void> {
  const payload = options.payload === undefined ? null : await readInput(options.payload, '--payload');
  const done = await cli.client((client) => client.signal(id, name, payload));
  cli.output.answer(done, () => `Signal ${oneLine(name)} is with execution ${id}`);
}

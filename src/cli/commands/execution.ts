import type { Command } from 'commander';
import { Option } from 'commander';
import { formatMs } from '../../core/duration.ts';
import { executionStatuses } from '../../core/execution.ts';
import type { ExecutionStatus } from '../../core/execution.ts';
import type { ExecutionDetail, ExecutionEvent, ExecutionSummary } from '../../engine/executions.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { eventDocument, executionDocument, executionItem } from '../documents.ts';
import { followEvents } from '../follow.ts';
import { moment, wholeNumber } from '../given.ts';
import { fields, paint, plain, short, status, table, time } from '../output.ts';
import type { Cell } from '../output.ts';

/** Executions: look at them, follow them, cancel them. */
export function addExecutionCommands(program: Command): void {
  const noun = program.command('execution').description('look at executions, follow and cancel them');
  noun
    .command('list')
    .description('list executions, the newest first')
    .addOption(new Option('--status <status>', 'only those in this state').choices([...executionStatuses]))
    .option('--workflow <name>', 'only those of this workflow')
    .option('--since <time>', 'only those created since then (ISO 8601)', moment)
    .option('--limit <n>', 'at most so many, 1 to 1000', wholeNumber(1), 50)
    .option('--after <id>', 'the page after this one: `next` of the page before')
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
    .command('cancel')
    .description('cancel an execution, whoever runs it')
    .argument('<id>', 'execution')
    .action(act(cancel));
}

interface ListOptions {
  readonly status?: ExecutionStatus;
  readonly workflow?: string;
  readonly since?: Date;
  readonly limit: number;
  readonly after?: string;
}

async function list(cli: Cli, options: ListOptions): Promise<void> {
  const { items, next } = await cli.client((client) => client.executions.list(options));
  cli.output.answer({ items: items.map(executionItem), next }, () => {
    if (items.length === 0) return 'No executions.';
    return table(['ID', 'WORKFLOW', 'PACKAGE', 'STATUS', 'CREATED', 'TOOK', 'ERROR'], items.map(executionRow));
  });
  if (next !== null && !cli.output.json) cli.output.note(`More: cloacina execution list --after ${next}`);
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
  const { package: from, version, schedule, error, tags } = execution;
  const head = fields([
    ['execution', { text: execution.id, style: 'bold' }],
    ['workflow', from === null ? execution.workflow : `${execution.workflow} (${from} v${version})`],
    ['status', status(execution.status)],
    ['created', time(execution.createdAt)],
    ['started', time(execution.startedAt)],
    ['ended', time(execution.endedAt)],
    ['took', took(execution)],
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
      task.error?.message ?? task.reason?.replaceAll('_', ' ') ?? (task.output === null ? '' : short(task.output, 60));
    return [task.name, status(task.status), task.attempt === 0 ? '' : String(task.attempt), took(task), said];
  });
  return rows.length === 0 ? head : `${head}\n\n${table(['TASK', 'STATUS', 'ATTEMPT', 'TOOK', 'RESULT'], rows)}`;
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
      for await (const event of followEvents(client, id, { after, signal: output.closed })) {
        output.item(eventDocument(event), () => eventLine(event));
      }
    });
    return;
  }
  const paging = limit === undefined ? { after } : { after, limit };
  const items = await cli.client((client) => client.executions.events(id, paging));
  output.answer({ items: items.map(eventDocument) }, () => items.map(eventLine).join('\n'));
}

function eventLine({ seq, type, task, attempt, at, data }: ExecutionEvent): string {
  const clock = new Date(at).toISOString().slice(11, 23);
  const who = task === null ? '' : ` ${plain(task)}${attempt !== null && attempt > 1 ? ` #${attempt}` : ''}`;
  const said = data === null ? '' : `  ${paint('dim', plain(short(data, 160)))}`;
  return `${paint('dim', String(seq).padStart(5))} ${clock} ${type}${who}${said}`;
}

async function cancel(cli: Cli, id: string): Promise<void> {
  const done = await cli.client((client) => client.cancel(id));
  cli.output.answer(done, () => {
    return done.status === 'cancelled'
      ? `Execution ${id} is cancelled`
      : `Execution ${id} is being cancelled by its runner`;
  });
}

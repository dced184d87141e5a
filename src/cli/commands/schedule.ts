import { Option } from 'commander';
import type { Command } from 'commander';
import { describeRule } from '../../core/schedule/describe-rule.ts';
import { oneLine } from '../../core/plain.ts';
import type { Json } from '../../core/json.ts';
import type { Catchup, Overlap } from '../../core/definition/spec.ts';
import type { ScheduleDetail, ScheduleSummary } from '../../schedule/schedules.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { iso, scheduleDocument, scheduleItem } from '../views.ts';
import { UsageError } from '../failure.ts';
import { readInput, wholeNumber } from '../arguments.ts';
import { fields, paint, short, table, time } from '../output.ts';
import type { Cell } from '../output.ts';
import { addHistoryCommand, addPreviewCommand, addStatsCommand } from './schedule-reports.ts';

/** Schedules: add, show, pause and remove them; show the history of their slots. */
export function addScheduleCommands(program: Command): void {
  const noun = program.command('schedule').description('run workflows on a schedule');
  addAddCommand(noun);
  noun.command('list').description('list schedules').action(act(list));
  noun.command('show').description('show a schedule').argument('<name>', 'schedule, or owner/name').action(act(show));
  addPreviewCommand(noun);
  for (const [verb, description] of changes) {
    noun
      .command(verb)
      .description(description)
      .argument('<name>', 'schedule, or owner/name')
      .action(act((cli, name: string) => change(cli, verb, name)));
  }
  addHistoryCommand(noun);
  addStatsCommand(noun);
}

function addAddCommand(noun: Command): void {
  const add = noun
    .command('add')
    .description('add a schedule; needs exactly one of --cron, --every and --at')
    .argument('<name>', 'schedule')
    .requiredOption(
      '--workflow <name>',
      'workflow to start: its name, package/workflow, or package@VERSION/workflow (a version, a digest or a channel)',
    );
  ruleOptions(add).option('--paused', 'add the schedule paused').action(act(addSchedule));
  const update = noun
    .command('update')
    .description('change the given settings of a schedule; the others stay the same')
    .argument('<name>', 'schedule, or owner/name')
    .option(
      '--workflow <name>',
      'workflow to start: its name, package/workflow, or package@VERSION/workflow (a version, a digest or a channel)',
    );
  ruleOptions(update).action(act(updateSchedule));
}

function ruleOptions(command: Command): Command {
  const overlap = new Option(
    '--overlap <policy>',
    'what to do while the previous execution is still open (default: skip)',
  );
  const catchup = new Option(
    '--catchup <policy>',
    'what to do with slots that were not fired in time (default: latest)',
  );
  return command
    .option('--cron <expression>', '5 fields, or 6 with seconds first')
    .option('--every <duration>', 'interval, such as 90s')
    .option('--at <time>', 'fire once at this time, ISO 8601')
    .option('--timezone <zone>', 'IANA name, such as Europe/Berlin (default: UTC)')
    .option(
      '--input <json>',
      'input of each execution as JSON, @FILE to read a file, or @- to read stdin (default: {})',
    )
    .addOption(overlap.choices(['skip', 'buffer_one', 'allow', 'cancel_other']))
    .addOption(catchup.choices(['latest', 'skip', 'all']))
    .option('--max <n>', 'maximum number of slots to catch up on with --catchup all (default: 100)', wholeNumber(1))
    .option('--window <duration>', 'slots older than this count as missed (default: 24h)')
    .option('--jitter <duration>', 'random delay of each slot, up to this (default: 0s)')
    .option('--start-at <time>', 'no slots before this time')
    .option('--end-at <time>', 'no slots at or after this time');
}

interface RuleOptions {
  readonly cron?: string;
  readonly every?: string;
  readonly at?: string;
  readonly timezone?: string;
  readonly input?: string;
  readonly overlap?: Overlap;
  readonly catchup?: Catchup;
  readonly max?: number;
  readonly window?: string;
  readonly jitter?: string;
  readonly startAt?: string;
  readonly endAt?: string;
}

interface AddOptions extends RuleOptions {
  readonly workflow: string;
  readonly paused?: boolean;
}

interface UpdateOptions extends RuleOptions {
  readonly workflow?: string;
}

async function addSchedule(cli: Cli, name: string, { input, ...options }: AddOptions): Promise<void> {
  const given = await givenInput(input);
  const added = await cli.client((client) => client.schedules.add(name, { ...options, ...given }));
  const { id, workflow, next, created } = added;
  cli.output.answer({ id, name, workflow, next: iso(next), created }, () => {
    const done = created ? 'Added' : 'Already exists with the same settings:';
    const what = `${paint('bold', oneLine(name))} of ${oneLine(workflow)}`;
    return `${done} schedule ${what}; ${next === null ? 'no next slot' : `next ${time(next)}`}`;
  });
}

async function updateSchedule(cli: Cli, name: string, { input, ...options }: UpdateOptions): Promise<void> {
  const changes = { ...options, ...(await givenInput(input)) };
  if (Object.keys(changes).length === 0) throw new UsageError('nothing to change; see --help for the options');
  const schedule = await cli.client((client) => client.schedules.update(name, changes));
  cli.output.answer(scheduleDocument(schedule), () => {
    return `Changed schedule ${paint('bold', oneLine(schedule.name))}\n\n${scheduleText(schedule)}`;
  });
}

async function givenInput(input: string | undefined): Promise<{ readonly input?: Json }> {
  return input === undefined ? {} : { input: await readInput(input) };
}

async function list(cli: Cli): Promise<void> {
  const schedules = await cli.client((client) => client.schedules.list());
  cli.output.answer({ items: schedules.map(scheduleItem) }, () => {
    if (schedules.length === 0) return 'No schedules yet: cloacina schedule add NAME --workflow W --cron EXPR';
    return table(['SCHEDULE', 'OWNER', 'WORKFLOW', 'WHEN', 'STATE', 'NEXT', 'LAST'], schedules.map(scheduleRow));
  });
}

function scheduleRow(schedule: ScheduleSummary): Cell[] {
  const { name, owner, workflow, next, last } = schedule;
  return [name, owner, workflow, describeRule(schedule), state(schedule), time(next), time(last)];
}

function state({ paused, enabled }: ScheduleSummary): Cell {
  if (!enabled) return { text: 'disabled', style: 'dim' };
  return paused ? { text: 'paused', style: 'yellow' } : { text: 'active', style: 'green' };
}

async function show(cli: Cli, name: string): Promise<void> {
  const schedule = await cli.client((client) => client.schedules.get(name));
  cli.output.answer(scheduleDocument(schedule), () => scheduleText(schedule));
}

function scheduleText(schedule: ScheduleDetail): string {
  return fields([
    ['schedule', { text: schedule.name, style: 'bold' }],
    ['owner', schedule.owner],
    ['workflow', schedule.workflow],
    ['input', short(schedule.input)],
    ['when', describeRule(schedule)],
    ['cron', schedule.cron],
    ['overlap', schedule.overlap],
    ['catchup', schedule.catchup],
    ['state', state(schedule)],
    ['next', time(schedule.next)],
    ['last', time(schedule.last)],
  ]);
}

const changes = [
  ['pause', 'stop firing a schedule; its slots are recorded as paused'],
  ['resume', 'fire a paused schedule again, from its next slot on'],
  ['remove', 'delete a schedule; its executions are kept'],
] as const;

async function change(cli: Cli, verb: (typeof changes)[number][0], name: string): Promise<void> {
  const schedule = await cli.client(({ schedules }) => schedules[verb](name));
  cli.output.answer(scheduleDocument(schedule), () => {
    const done = { pause: 'Paused', resume: 'Resumed', remove: 'Removed' }[verb];
    const next = verb === 'resume' && schedule.next !== null ? `; next ${time(schedule.next)}` : '';
    return `${done} schedule ${paint('bold', oneLine(schedule.name))}${next}`;
  });
}

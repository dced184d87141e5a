import type { Command } from 'commander';
import { describeRule } from '../../core/schedule/describe-rule.ts';
import { formatMs } from '../../core/duration.ts';
import { scheduleRule } from '../../core/schedule/rule.ts';
import { slotsBetween } from '../../core/schedule/fire-times.ts';
import type { SchedulePreview, ScheduleStats, SlotSummary } from '../../schedule/schedules.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { iso, slotDocument } from '../views.ts';
import { UsageError } from '../failure.ts';
import { moment, wholeNumber } from '../arguments.ts';
import { fields, status, table, time } from '../output.ts';
import type { Cell } from '../output.ts';

export function addPreviewCommand(noun: Command): void {
  noun
    .command('preview')
    .description('show the next slots of a schedule or of a cron expression')
    .argument('[name]', 'schedule, or owner/name; omit it to use --cron')
    .option('--cron <expression>', '5 fields, or 6 with seconds first')
    .option('--timezone <zone>', 'IANA name, for --cron (default: UTC)')
    .option('-n, --count <n>', 'number of slots', wholeNumber(1), 10)
    .option('--from <time>', 'slots after this time, ISO 8601 (default: now)', moment)
    .action(act(preview));
}

export function addHistoryCommand(noun: Command): void {
  noun
    .command('history')
    .description('list the past slots of a schedule with their outcome, newest first')
    .argument('<name>', 'schedule, or owner/name')
    .option('--limit <n>', 'maximum number of rows', wholeNumber(1), 50)
    .action(act(history));
}

export function addStatsCommand(noun: Command): void {
  noun
    .command('stats')
    .description('count scheduled executions by outcome')
    .argument('[name]', 'one schedule (default: all)')
    .option('--since <duration>', 'how far back', '1h')
    .action(act(stats));
}

interface PreviewOptions {
  readonly cron?: string;
  readonly timezone?: string;
  readonly count: number;
  readonly from?: Date;
}

async function preview(cli: Cli, name: string | undefined, options: PreviewOptions): Promise<void> {
  const { slots, sentence, zone } = await previewed(cli, name, options);
  cli.output.answer({ slots: slots.map((slot) => iso(slot)), sentence }, () => {
    const lines = slots.map((slot) => `  ${time(slot)}${localTime(slot, zone)}`);
    return [sentence, ...(lines.length > 0 ? lines : ['  no slots left'])].join('\n');
  });
}

interface Previewed extends SchedulePreview {
  readonly zone: string;
}

/** A cron expression is previewed without a database. */
async function previewed(cli: Cli, name: string | undefined, options: PreviewOptions): Promise<Previewed> {
  const { cron, timezone, count, from } = options;
  if (name !== undefined) {
    if (cron !== undefined || timezone !== undefined) {
      throw new UsageError('a schedule has its own cron and time zone: pass either its name, or --cron and --timezone');
    }
    return cli.client(async ({ schedules }) => {
      const { timezone: zone } = await schedules.get(name);
      return { ...(await schedules.preview(name, count, from)), zone };
    });
  }
  if (cron === undefined) throw new UsageError('preview needs the name of a schedule or --cron');
  const now = Date.now();
  const rule = scheduleRule({ cron, ...(timezone === undefined ? {} : { timezone }) }, now);
  const slots = [...slotsBetween(rule, (from?.getTime() ?? now) + 1, Infinity).take(count)];
  return { slots, sentence: describeRule(rule), zone: rule.timezone };
}

function localTime(at: number, zone: string): string {
  if (zone === 'UTC') return '';
  const form = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    weekday: 'short',
    dateStyle: undefined,
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
  });
  return `  ${form.format(at)}`;
}

async function history(cli: Cli, name: string, { limit }: { readonly limit: number }): Promise<void> {
  const items = await cli.client((client) => client.schedules.history(name, { limit }));
  cli.output.answer({ items: items.map(slotDocument) }, () => {
    if (items.length === 0) return 'No slots yet.';
    return table(['SLOT', 'OUTCOME', 'REASON', 'SLOTS', 'STATUS', 'EXECUTION'], items.map(historyRow));
  });
}

function historyRow({ slot, outcome, reason, count, status: word, executionId, error }: SlotSummary): Cell[] {
  const why = error?.message ?? reason?.replaceAll('_', ' ') ?? '';
  const slots = count > 1 ? String(count) : '';
  return [time(slot), outcome, why, slots, word === null ? '' : status(word), executionId ?? ''];
}

async function stats(cli: Cli, schedule: string | undefined, { since }: { readonly since: string }): Promise<void> {
  const only = schedule === undefined ? {} : { schedule };
  const found = await cli.client((client) => client.schedules.stats({ since, ...only }));
  cli.output.answer({ ...found, since: iso(found.since) }, () => statsText(found));
}

function statsText(found: ScheduleStats): string {
  const { since, total, completed, failed, cancelled, open, skipped, missed, paused, successRate, lag } = found;
  return fields([
    ['since', time(since)],
    ['executions', String(total)],
    ['completed', { text: String(completed), style: 'green' }],
    ['failed', failed === 0 ? '0' : { text: String(failed), style: 'red' }],
    ['cancelled', cancelled === 0 ? null : String(cancelled)],
    ['open', open === 0 ? null : String(open)],
    ['skipped', String(skipped)],
    ['missed', String(missed)],
    ['paused', paused === 0 ? null : String(paused)],
    ['success rate', successRate === null ? 'n/a (nothing has finished)' : `${(successRate * 100).toFixed(1)} %`],
    ['lag', lag === null ? null : `${formatMs(lag.meanMs)} on average, ${formatMs(lag.maxMs)} at most`],
  ]);
}

import { anchoredRule } from '../core/schedule/rule.ts';
import { countSlots } from '../core/schedule/fire-times.ts';
import { slotOutcomes, straddlers, tallySlots } from '../store/schedules/slots.ts';
import type { SlotTally } from '../store/schedules/slots.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script } from '../store/script.ts';
import { passedBy } from './change.ts';
import { ruleOf } from './fire.ts';

/** Counts of slots since a time (epoch ms), of one schedule or of all. */
export interface ScheduleStats {
  readonly since: number;
  /** Number of executions, including those that could not be started. */
  readonly total: number;
  readonly completed: number;
  /** Number of failed executions, and of slots whose execution could not be started. */
  readonly failed: number;
  readonly cancelled: number;
  /** Number of executions that have not ended. */
  readonly open: number;
  /** Number of slots skipped because an earlier execution had not ended (`overlap`). */
  readonly skipped: number;
  /** Number of slots that no runner was there to fire, and of those older than `window`. */
  readonly missed: number;
  readonly paused: number;
  /** Completed executions as a share of completed and failed ones, 0 to 1; null if none has ended. */
  readonly successRate: number | null;
  /** Delay from slots to the creation of their executions, ms; catch-ups excluded. Null without executions. */
  readonly lag: { readonly meanMs: number; readonly maxMs: number } | null;
}

/** Counts slots from `since` through `now`; `schedules` are all of a tenant or one. */
export function* scheduleStats(
  tenant: string,
  schedules: readonly ScheduleRecord[],
  only: string | null,
  since: number,
  now: number,
): Script<ScheduleStats> {
  const tallies = [...(yield* tallySlots(tenant, only, since))];
  const unstarted = { status: null, timed: 0, lagSumMs: 0, lagMaxMs: 0 };
  for (const { outcome, count, through, rule, anchor } of yield* straddlers(tenant, only, since)) {
    const slots = Math.min(count, countSlots(anchoredRule(rule, anchor), since, through + 1));
    tallies.push({ ...unstarted, outcome, slots });
  }
  for (const record of schedules) {
    if (record.pausedAt === null || record.damaged !== undefined) continue;
    for (const { reason, first, last } of passedBy(record, now)) {
      const slots = countSlots(ruleOf(record), Math.max(first, since), last + 1);
      tallies.push({ ...unstarted, outcome: slotOutcomes[reason], slots });
    }
  }
  return summed(tallies, since);
}

function summed(tallies: readonly SlotTally[], since: number): ScheduleStats {
  const count = (counts: (tally: SlotTally) => boolean): number =>
    tallies.reduce((sum, tally) => (counts(tally) ? sum + tally.slots : sum), 0);
  const failedStarts = count(({ outcome }) => outcome === 'failed');
  const completed = count(({ status }) => status === 'completed');
  const failed = count(({ status }) => status === 'failed') + failedStarts;
  const cancelled = count(({ status }) => status === 'cancelled');
  const started = count(({ outcome }) => outcome === 'started');
  const pruned = count(({ outcome, status }) => outcome === 'started' && status === null);
  const timed = tallies.reduce((sum, tally) => sum + tally.timed, 0);
  const lagSumMs = tallies.reduce((sum, tally) => sum + tally.lagSumMs, 0);
  return {
    since,
    total: started + failedStarts,
    completed,
    failed,
    cancelled,
    open: started + failedStarts - completed - failed - cancelled - pruned,
    skipped: count(({ outcome }) => outcome === 'skipped'),
    missed: count(({ outcome }) => outcome === 'missed'),
    paused: count(({ outcome }) => outcome === 'paused'),
    successRate: completed + failed === 0 ? null : completed / (completed + failed),
    lag: timed === 0 ? null : { meanMs: lagSumMs / timed, maxMs: Math.max(...tallies.map((each) => each.lagMaxMs)) },
  };
}

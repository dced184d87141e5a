import { parseCron, type Cron } from './cron.ts';
import { dayMs } from '../duration.ts';
import { ScheduleInvalidError } from '../error.ts';
import type { ScheduleRule } from '../definition/spec.ts';
import { zone, type Segment, type Zone } from './zone.ts';

/** A clock that goes back by up to 26 h repeats local times; days without a match are skipped only beyond that. */
const settledMs = 2 * dayMs;

/**
 * Returns the first slot strictly after an instant (epoch ms), or null after the last slot. Slots are in [startAt,
 * endAt) and follow from the rule alone, so nothing drifts; a rule of `every` without `startAt` counts from
 * 1970-01-01T00:00Z. Throws SCHEDULE_INVALID for a rule with a bad cron or an unknown zone.
 */
export function nextSlot(rule: ScheduleRule, after: number): number | null {
  const from = Math.max(Math.floor(after) + 1, rule.startAt ?? -Infinity);
  const slot = firstFrom(rule, from);
  return slot === null || (rule.endAt !== null && slot >= rule.endAt) ? null : slot;
}

/** Yields the slots in [from, to), in order, each computed on demand. */
export function* slotsBetween(rule: ScheduleRule, from: number, to: number): Generator<number, void, undefined> {
  for (let slot = nextSlot(rule, from - 1); slot !== null && slot < to; slot = nextSlot(rule, slot)) yield slot;
}

/**
 * Counts the slots in [from, to); a year of a schedule that fires each second costs well under a millisecond once its
 * zone is read.
 */
export function countSlots(rule: ScheduleRule, from: number, to: number): number {
  const low = Math.max(from, rule.startAt ?? -Infinity);
  const high = Math.min(to, rule.endAt ?? Infinity);
  if (low >= high) return 0;
  if (rule.at !== null) return rule.at >= low && rule.at < high ? 1 : 0;
  if (rule.every !== null) return stepsBefore(rule, rule.every, high) - stepsBefore(rule, rule.every, low);
  const { cron, place } = cronOf(rule);
  let count = 0;
  for (let at = low; at < high;) {
    const segment = place.segmentAt(at);
    count += countIn(cron, segment, at, Math.min(segment.end, high));
    at = segment.end;
  }
  return count;
}

/** Returns the last slot in [from, to), or null. */
export function lastSlot(rule: ScheduleRule, from: number, to: number): number | null {
  if (countSlots(rule, from, to) === 0) return null;
  if (rule.at !== null) return rule.at;
  if (rule.every !== null)
    return anchor(rule) + (stepsBefore(rule, rule.every, Math.min(to, rule.endAt ?? to)) - 1) * rule.every;
  let low = from;
  for (let width = 1000; to - width > from; width *= 2) {
    if (countSlots(rule, to - width, to) === 0) continue;
    low = to - width;
    break;
  }
  // slots of a cron are whole seconds, so at most one is in the last second
  let high = to;
  while (high - low > 1000) {
    const middle = Math.floor((low + high) / 2);
    if (countSlots(rule, middle, high) > 0) low = middle;
    else high = middle;
  }
  return nextSlot(rule, low - 1);
}

function firstFrom(rule: ScheduleRule, from: number): number | null {
  if (rule.at !== null) return rule.at >= from ? rule.at : null;
  if (rule.every !== null) return anchor(rule) + stepsBefore(rule, rule.every, from) * rule.every;
  const { cron, place } = cronOf(rule);
  for (let at = from; ;) {
    const segment = place.segmentAt(at);
    const local = at + segment.offset;
    const skipped = skippedSlot(cron, segment, at);
    if (skipped !== null) return skipped;
    const match = cron.next(cron.fixedHour ? Math.max(local, segment.shown) : local);
    if (match < segment.end + segment.offset) return match - segment.offset;
    if (match === Infinity) return null;
    at = segment.end - from < settledMs ? segment.end : Math.max(segment.end, match - settledMs);
  }
}

/**
 * Returns the start of a segment that follows a gap, from `at` on, if a fixed hour matches in the gap; otherwise null.
 */
function skippedSlot(cron: Cron, segment: Segment, at: number): number | null {
  const opens = segment.start + segment.offset;
  if (!cron.fixedHour || at > segment.start || segment.shown >= opens) return null;
  return cron.next(segment.shown) < opens ? segment.start : null;
}

function countIn(cron: Cron, segment: Segment, from: number, to: number): number {
  const low = from + segment.offset;
  const matches = cron.count(cron.fixedHour ? Math.max(low, segment.shown) : low, to + segment.offset);
  const skipped = skippedSlot(cron, segment, from);
  // if the first instant after the gap matches as well, both are the same slot
  return skipped === null || cron.next(low) === low ? matches : matches + 1;
}

function anchor(rule: ScheduleRule): number {
  return rule.startAt ?? 0;
}

/** Counts the steps of `every` before an instant, from the anchor. */
function stepsBefore(rule: ScheduleRule, every: number, instant: number): number {
  const steps = Math.ceil((instant - anchor(rule)) / every);
  return rule.startAt === null ? steps : Math.max(0, steps);
}

function cronOf(rule: ScheduleRule): { readonly cron: Cron; readonly place: Zone } {
  if (rule.cron === null) throw new ScheduleInvalidError('cron', 'none of cron, every and at is given');
  const place = zone(rule.timezone);
  if (place === null) throw new ScheduleInvalidError('timezone', `there is no time zone '${rule.timezone}'`);
  return { cron: parseCron(rule.cron), place };
}

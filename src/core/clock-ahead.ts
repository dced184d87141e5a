/**
 * A stored time that is later than now by more than this (ms) was written while the clock was ahead. A smaller lead is
 * the difference of two clocks.
 */
export const clockToleranceMs = 10_000;

/** True if a stored time (epoch ms) was written by a clock that was ahead. */
export function isAhead(time: number, now: number): boolean {
  return time > now + clockToleranceMs;
}

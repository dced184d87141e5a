export { ManualClock } from './testing/clock.ts';
export type { ManualClockOptions } from './testing/clock.ts';
export { TestRunner, testRunner } from './testing/test-runner.ts';
export type { TestRunnerOptions } from './testing/test-runner.ts';

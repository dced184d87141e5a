import type { AnyWorkflow, WorkflowRef } from '../core/definition/definition.ts';
import type { Duration } from '../core/duration.ts';
import { durationMs } from '../core/duration.ts';
import { defaultQueue, queuesOf } from '../core/definition/graph.ts';
import type { Json } from '../core/json.ts';
import { isWorkflow } from '../core/definition/workflow.ts';
import type { ExecutionHandle, ExecutionOutcome } from '../engine/client/client.ts';
import { Runner } from '../open.ts';
import type { RunnerOptions } from '../options.ts';
import { ManualClock } from './clock.ts';

/** Options of `testRunner`: those of `Runner.open` except those that a test runner sets itself. */
export interface TestRunnerOptions extends Omit<RunnerOptions, 'clock' | 'ownOnly' | 'name'> {
  /** Initial time of the clock; default 2026-01-01T00:00:00Z. */
  readonly now?: Date;
}

type TestInput<Given> = undefined extends Given ? [input?: NoInfer<Given>] : [input: NoInfer<Given>];

/** Real time that `finish` grants to running functions before it moves time forward. */
const patienceMs = 250;
/** Default limit of the virtual time that `finish` passes through. */
const longest: Duration = '400d';

/**
 * A runner on a database in memory, with a clock that only the test moves: timers, retries, timeouts and schedules all
 * follow it. Nothing is pruned unless the option `retention` is set.
 */
export class TestRunner implements AsyncDisposable {
  readonly runner: Runner;
  readonly clock: ManualClock;

  constructor(runner: Runner, clock: ManualClock) {
    this.runner = runner;
    this.clock = clock;
  }

  /** The current time of the clock. */
  get now(): Date {
    return new Date(this.clock.now());
  }

  /**
   * Moves time forward. Timers fire in order, each at its own time, and everything they trigger settles before the next
   * one. Work on real files or sockets is not awaited: await its execution. Throws OPTION_INVALID.
   */
  async advance(duration: Duration): Promise<void> {
    await this.clock.advance(duration);
  }

  /**
   * Moves time forward until an execution has ended, and returns its outcome. Running task functions get real time
   * first, at most 250 ms: one that waits for its signal or its timeout takes that long. `within` limits the virtual
   * time (default 400 days). Throws if the execution has not ended by then.
   */
  async finish<Out>(
    execution: ExecutionHandle<Out>,
    options: { readonly within?: Duration } = {},
  ): Promise<ExecutionOutcome<Out>> {
    const until = this.clock.now() + durationMs(options.within ?? longest, 'within');
    let outcome: ExecutionOutcome<Out> | undefined;
    let failure: { readonly error: unknown } | undefined;
    execution.outcome().then(
      (ended) => (outcome = ended),
      (error: unknown) => (failure = { error }),
    );
    const over = (): boolean => outcome !== undefined || failure !== undefined;
    while (!over()) {
      await this.#rest(over);
      if (over()) break;
      if (!(await this.clock.advanceToNext(until))) break;
    }
    if (failure !== undefined) throw failure.error;
    if (outcome !== undefined) return outcome;
    const { status } = await this.runner.executions.get(execution.id);
    throw new Error(`execution '${execution.id}' has not ended by ${new Date(until).toISOString()}: it is ${status}`);
  }

  /** Waits until all triggered work has settled; files and sockets that a task's function waits for take real time. */
  async #rest(over: () => boolean): Promise<void> {
    await this.clock.settle();
    const until = performance.now() + patienceMs;
    while (this.runner.attempts > 0 && !over() && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      await this.clock.settle();
    }
  }

  /** Starts an execution and moves time forward until it has ended. Throws the errors of `start`. */
  async run<Given, Out>(workflow: WorkflowRef<Out, Given>, ...input: TestInput<Given>): Promise<ExecutionOutcome<Out>>;
  async run(workflow: string, input?: unknown): Promise<ExecutionOutcome<Json>>;
  async run(workflow: WorkflowRef<unknown, unknown> | string, input?: unknown): Promise<ExecutionOutcome<never>> {
    return this.finish(await this.runner.start(workflow as string, input)) as Promise<ExecutionOutcome<never>>;
  }

  async close(): Promise<void> {
    const closing = this.runner.close({ drain: 0 });
    // the signals and the grace period of attempts use this clock too
    for (let i = 0; i < 20; i++) await this.clock.advance(1000);
    await closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Opens a runner for a test: in memory, on a clock that the test moves, for all queues of its workflows. Throws
 * DEFINITION_INVALID, OPTION_INVALID.
 */
export async function testRunner(options: TestRunnerOptions = {}): Promise<TestRunner> {
  const { now, ...rest } = options;
  const clock = new ManualClock(now === undefined ? {} : { now });
  const queues = queuesOfAll(options.workflows ?? []);
  return new TestRunner(await Runner.open('sqlite::memory:', { retention: null, queues, ...rest, clock }), clock);
}

function queuesOfAll(workflows: readonly AnyWorkflow[]): readonly string[] {
  // the runner refuses values that are no workflows, with an error message
  const known = workflows.filter(isWorkflow).flatMap((workflow) => [...queuesOf(workflow.spec)]);
  return [...new Set([defaultQueue, ...known])];
}

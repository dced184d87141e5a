import { setTimeout as sleep } from 'node:timers/promises';
import { formatMs } from '../../core/duration.ts';
import { CloacinaError } from '../../core/error.ts';
import type { ErrorCode } from '../../core/error-table.ts';
import { isEnded } from '../../core/execution/states.ts';
import type { ExecutionOutcome } from '../../engine/client/client.ts';
import type { Json } from '../../core/json.ts';
import { indented, oneLine } from '../../core/plain.ts';
import type { StartOptions } from '../../engine/client/start.ts';
import type { WorkflowEntry } from '../../engine/client/workflows.ts';
import type { Client } from '../../open.ts';
import type { Grants } from '../../package/load/grants.ts';
import type { PackageEvent } from '../../package/load/reconciler.ts';
import type { Cli } from '../cli.ts';
import { grantsOf, readInput } from '../arguments.ts';
import type { GrantOptions } from '../arguments.ts';
import { aborted, Interruption, interruptedExit } from '../interruption.ts';
import { paint, pretty } from '../output.ts';
import { openTaskView } from '../task-view.ts';
import type { TaskView } from '../task-view.ts';

interface RunOptions extends GrantOptions {
  readonly input?: string;
  readonly detach?: boolean;
  readonly idempotencyKey?: string;
}

/** A runner claims pending executions within 100 ms; after this time no runner is up. */
const takenWithinMs = 300;
/** Ctrl-C must be fast: the next owner repeats interrupted attempts. */
const drain = '1s';

/** Starts a workflow and, unless detached, follows it to its end, in this process or in another runner. */
export async function run(cli: Cli, name: string, options: RunOptions): Promise<void> {
  const input = options.input === undefined ? {} : await readInput(options.input);
  const start = options.idempotencyKey === undefined ? {} : { idempotencyKey: options.idempotencyKey };
  const grants = grantsOf(options);
  const entry = await cli.client(async (client) => {
    if (options.detach === true) await detach(cli, client, name, input, start);
    return options.detach === true ? null : await client.workflows.get(name);
  });
  if (entry === null) return;
  if (entry.package === null) await runElsewhere(cli, entry, input, start);
  else await runHere(cli, entry, input, start, grants);
}

async function detach(cli: Cli, client: Client, name: string, input: Json, start: StartOptions): Promise<void> {
  const { id } = await client.start(name, input, start);
  let { status } = await client.executions.get(id);
  for (let waitedMs = 0; status === 'pending' && waitedMs < takenWithinMs; waitedMs += 50) {
    await sleep(50);
    ({ status } = await client.executions.get(id));
  }
  cli.output.answer({ executionId: id, status }, () => id);
  if (status === 'pending') {
    cli.output.note('No runner has claimed it yet. To run it: cloacina runner');
  }
}

/** Runs an execution of a packaged workflow; this process executes nothing else. */
async function runHere(
  cli: Cli,
  entry: WorkflowEntry,
  input: Json,
  start: StartOptions,
  grants: Grants,
): Promise<void> {
  const { Runner } = await import('../../open.ts');
  using interruption = new Interruption();
  const loading = new Loading(entry);
  const shown: { id: string | null; view: TaskView | null } = { id: null, view: null };
  const runner = await Runner.open(cli.options.database, {
    ...cli.place,
    grants,
    ownOnly: true,
    schedules: false,
    onPackage: (event) => loading.happened(event),
    onProgress: ({ executionId, task, done, text }) => {
      if (executionId === shown.id) shown.view?.progress(task, done, text);
    },
  });
  let ended: boolean;
  try {
    const { id } = await runner.start(`${entry.package}/${entry.name}`, input, start);
    shown.id = id;
    shown.view = viewOf(cli, entry);
    ended = await seeThrough(cli, runner, entry, { id, view: shown.view, signal: interruption.signal, loading });
  } finally {
    await runner.close({ drain });
  }
  if (!ended) await handedBack(cli, entry, shown.id);
}

/** Starts a workflow embedded in an application: only a runner of that application has its code. */
async function runElsewhere(cli: Cli, entry: WorkflowEntry, input: Json, start: StartOptions): Promise<void> {
  using interruption = new Interruption();
  const left = await cli.client(async (client) => {
    const { id } = await client.start(`embedded/${entry.name}`, input, start);
    cli.output.note(
      `${oneLine(entry.name)} is embedded in an application; execution ${id} waits for a runner of that application`,
    );
    const view = viewOf(cli, entry);
    const ended = await seeThrough(cli, client, entry, { id, view, signal: interruption.signal, loading: null });
    return ended ? null : id;
  });
  if (left !== null) await handedBack(cli, entry, left);
}

function viewOf(cli: Cli, { spec }: WorkflowEntry): TaskView | null {
  if (cli.output.json) return null;
  return openTaskView(
    spec.tasks.map((task) => task.name),
    process.stderr,
  );
}

/** Maximum number of failed loads: a script must not wait for ever for a broken package. */
const loadsAtMost = 3;

/** The load state of the package in this process. */
class Loading {
  readonly #entry: WorkflowEntry;
  readonly #gaveUp = Promise.withResolvers<GivenUp>();
  #failures = 0;

  constructor(entry: WorkflowEntry) {
    this.#entry = entry;
  }

  /** Resolves with the reason when loading was given up. */
  get gaveUp(): Promise<GivenUp> {
    return this.#gaveUp.promise;
  }

  happened(event: PackageEvent): void {
    if (event.name !== this.#entry.package || event.event !== 'package.failed') return;
    this.#failures += 1;
    if (event.retryInMs !== null && this.#failures < loadsAtMost) return; // the logger reports it, and loading is retried
    const why = `package ${event.name} v${event.version} failed to load: ${event.message}`;
    this.#gaveUp.resolve({ status: 'given up', code: event.code, why });
  }
}

interface GivenUp {
  readonly status: 'given up';
  readonly code: ErrorCode;
  readonly why: string;
}

/** The package cannot be loaded; its execution exists and waits. */
class NotLoadedError extends CloacinaError {
  readonly executionId: string;
  constructor({ code, why }: GivenUp, executionId: string) {
    const cancel = `cloacina execution cancel ${executionId}`;
    super(code, `${why}; execution ${executionId} waits for a runner that can load it (to cancel it: ${cancel})`);
    this.executionId = executionId;
  }
}

interface Seen {
  readonly id: string;
  readonly view: TaskView | null;
  readonly signal: AbortSignal;
  readonly loading: Loading | null;
}

/** Follows an execution to its end and prints the result. Returns false if Ctrl-C came first. Throws NotLoadedError. */
async function seeThrough(cli: Cli, client: Client, entry: WorkflowEntry, seen: Seen): Promise<boolean> {
  const { id, view, signal, loading } = seen;
  const stop = new AbortController();
  const following = view === null ? null : follow(client, id, view, AbortSignal.any([signal, stop.signal]));
  const outcome = client.handle(id).outcome();
  const interrupted = aborted(signal).then(() => null);
  const ways: Promise<ExecutionOutcome<Json> | GivenUp | null>[] = [outcome, interrupted];
  if (loading !== null) ways.push(loading.gaveUp);
  try {
    const first = await Promise.race(ways);
    if (first !== null && first.status !== 'given up') {
      await following;
      view?.end();
      await answer(cli, client, entry, first);
      return true;
    }
    outcome.catch(() => undefined); // it rejects when the client is closed
    if (first === null) return false;
    throw new NotLoadedError(first, id);
  } finally {
    stop.abort();
    await following;
    view?.end();
  }
}

async function follow(client: Client, id: string, view: TaskView, signal: AbortSignal): Promise<void> {
  for await (const event of client.executions.watch(id, { signal })) view.event(event);
}

async function answer(cli: Cli, client: Client, entry: WorkflowEntry, outcome: ExecutionOutcome<Json>): Promise<void> {
  const { executionId, status, outputs } = outcome;
  const output = outcome.status === 'completed' ? outcome.output : null;
  const error = outcome.status === 'completed' ? null : outcome.error;
  const { startedAt, endedAt } = await client.executions.get(executionId);
  cli.output.answer({ executionId, workflow: entry.name, status, output, outputs, error }, () => {
    return outcome.status === 'completed' ? pretty(output) : '';
  });
  if (outcome.status !== 'completed') process.exitCode = 1;
  if (cli.output.json) return;
  const took = startedAt === null || endedAt === null ? '' : ` in ${formatMs(endedAt - startedAt)}`;
  cli.output.note(endText(outcome, took));
}

function endText(outcome: ExecutionOutcome<Json>, took: string): string {
  const { stderr } = process;
  const { executionId: id, status } = outcome;
  if (outcome.status === 'completed') return `${paint('green', 'completed', stderr)}${took}, execution ${id}`;
  const { task, error } = outcome;
  const where = task === null ? '' : ` in task ${task}`;
  const why = error === null ? '' : `: ${error.message} (${error.code})`;
  return `${paint('red', status, stderr)}${took}, execution ${id}${indented(`${where}${why}`)}\nDetails: cloacina execution show ${id}`;
}

async function handedBack(cli: Cli, entry: WorkflowEntry, id: string): Promise<void> {
  const { status } = await cli.client((client) => client.executions.get(id));
  process.exitCode = interruptedExit;
  if (cli.output.json) {
    const document = { executionId: id, workflow: entry.name, status, output: null, outputs: {}, error: null };
    cli.output.answer(document, () => '');
  }
  const now = isEnded(status)
    ? `Execution ${id} has already ended: ${status}.`
    : `The next runner will continue ${id} from here. To start one: cloacina runner`;
  cli.output.note(`Interrupted. ${now}`);
  cli.output.note(`To follow it: cloacina execution events ${id} --follow`);
  cli.output.note(`To cancel it: cloacina execution cancel ${id}`);
}

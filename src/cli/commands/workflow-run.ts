import { setTimeout as sleep } from 'node:timers/promises';
import { fullWorkflowName, parseWorkflowName } from '../../core/definition/workflow-name.ts';
import { isEnded } from '../../core/execution/states.ts';
import type { Json } from '../../core/json.ts';
import { oneLine } from '../../core/plain.ts';
import type { StartOptions } from '../../engine/client/start.ts';
import type { WorkflowEntry } from '../../engine/client/workflows.ts';
import type { Client } from '../../open.ts';
import type { PackageMemory } from '../../options.ts';
import type { Cli } from '../cli.ts';
import { readInput } from '../arguments.ts';
import { Interruption, interruptedExit } from '../interruption.ts';
import type { TaskView } from '../task-view.ts';
import { Loading, NotLoadedError } from './loading.ts';
import { printing, seeThrough, viewOf } from './seen-through.ts';

interface RunOptions {
  readonly input?: string;
  readonly detach?: boolean;
  readonly idempotencyKey?: string;
  readonly allowEnv?: readonly string[];
  readonly packageMemory?: PackageMemory;
}

/** A runner claims pending executions within 100 ms; after this time no runner is up. */
const takenWithinMs = 300;
/** Ctrl-C must be fast: the next owner repeats interrupted attempts. */
const drain = '1s';

/** Starts a workflow and, unless detached, follows it to its end, in this process or in another runner. */
export async function run(cli: Cli, name: string, options: RunOptions): Promise<void> {
  const input = options.input === undefined ? {} : await readInput(options.input);
  const start = options.idempotencyKey === undefined ? {} : { idempotencyKey: options.idempotencyKey };
  const entry = await cli.client(async (client) => {
    if (options.detach === true) await detach(cli, client, name, input, start);
    return options.detach === true ? null : await client.workflows.get(name);
  });
  if (entry === null) return;
  const { package: from } = entry;
  if (from === null) return runElsewhere(cli, entry, input, start);
  const reference = parseWorkflowName(name).at === null ? fullWorkflowName(from, entry.name) : name;
  await runHere(cli, { ...entry, package: from, reference }, input, start, options);
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
  entry: WorkflowEntry & { readonly package: string; readonly reference: string },
  input: Json,
  start: StartOptions,
  { allowEnv = [], packageMemory }: RunOptions,
): Promise<void> {
  const [{ Runner }, { stderrLogger }] = await Promise.all([import('../../open.ts'), import('../../engine/logger.ts')]);
  using interruption = new Interruption();
  const loading = new Loading(entry.package, (text) => cli.output.note(text));
  const shown: { id: string | null; view: TaskView | null } = { id: null, view: null };
  const runner = await Runner.open(cli.options.database, {
    ...cli.place,
    grants: { env: allowEnv },
    ...(packageMemory === undefined ? {} : { packageMemory }),
    ownOnly: true,
    schedules: false,
    logger: loading.quiet(printing(cli, () => shown.view, stderrLogger)),
    onPackage: (event) => loading.happened(event),
    onProgress: ({ executionId, task, done, text }) => {
      if (executionId === shown.id) shown.view?.progress(task, done, text);
    },
  });
  let left: string | null = null;
  try {
    const { id } = await runner.start(entry.reference, input, start);
    shown.id = id;
    shown.view = viewOf(cli, entry);
    const { signal } = interruption;
    const ended = await seeThrough(cli, runner, entry, { id, view: shown.view, signal, loading, isKept: true });
    if (typeof ended === 'object') {
      // with a key, the next call with the same key continues it
      const isCancelled = start.idempotencyKey === undefined && (await cancelUnbegun(runner, id));
      throw new NotLoadedError(ended, id, isCancelled);
    }
    if (ended === 'interrupted') left = id;
  } finally {
    await runner.close({ drain });
  }
  if (left !== null) await handedBack(cli, entry, left);
}

/** Cancels an execution that no runner has begun: it would surprise the next runner. Returns false for any other. */
async function cancelUnbegun(client: Client, id: string): Promise<boolean> {
  const { status, startedAt } = await client.executions.get(id);
  if (status !== 'pending' || startedAt !== null) return false;
  return (await client.cancel(id)).status === 'cancelled';
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
    const { signal } = interruption;
    const ended = await seeThrough(cli, client, entry, { id, view, signal, loading: null, isKept: true });
    return ended === 'ended' ? null : id;
  });
  if (left !== null) await handedBack(cli, entry, left);
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

import { formatMs } from '../../core/duration.ts';
import type { Json } from '../../core/json.ts';
import { indented } from '../../core/plain.ts';
import type { ExecutionOutcome } from '../../engine/client/client.ts';
import type { WorkflowEntry } from '../../engine/client/workflows.ts';
import type { Logger } from '../../engine/logger.ts';
import type { Client } from '../../open.ts';
import type { Cli } from '../cli.ts';
import { linesBelow } from '../error-lines.ts';
import { aborted } from '../interruption.ts';
import { paint, pretty } from '../output.ts';
import { outputLogger, outputText } from '../package-output.ts';
import { openTaskView } from '../task-view.ts';
import type { TaskView } from '../task-view.ts';
import type { GivenUp, Loading } from './loading.ts';

/** An execution that a command sees through. */
export interface Seen {
  readonly id: string;
  readonly view: TaskView | null;
  /** Fires at Ctrl-C. */
  readonly signal: AbortSignal;
  readonly loading: Loading | null;
  /** False if the database is gone with the command, so that there is nothing to look up later. */
  readonly isKept: boolean;
}

export function viewOf(cli: Cli, { spec }: WorkflowEntry): TaskView | null {
  if (cli.output.json) return null;
  return openTaskView(
    spec.tasks.map((task) => task.name),
    process.stderr,
  );
}

/** A logger that shows the output of the package among the tasks. With --json it is not shown: stderr lines are logged. */
export function printing(cli: Cli, view: () => TaskView | null, logger: Logger): Logger {
  if (cli.output.json) return logger;
  return outputLogger((output) => {
    const text = outputText(output);
    const shown = view();
    if (shown === null) cli.output.note(text);
    else shown.line(text);
  }, logger);
}

/** Follows an execution to its end and prints the result; else says that Ctrl-C came first, or why its package does not load. */
export async function seeThrough(
  cli: Cli,
  client: Client,
  entry: WorkflowEntry,
  seen: Seen,
): Promise<'ended' | 'interrupted' | GivenUp> {
  const { id, view, signal, loading } = seen;
  const stop = new AbortController();
  const following = view === null ? null : follow(client, id, view, AbortSignal.any([signal, stop.signal]));
  const outcome = client.handle(id).outcome();
  const interrupted = aborted(signal).then(() => null);
  const ways: Promise<ExecutionOutcome<Json> | GivenUp | null>[] = [outcome, interrupted];
  if (loading !== null) {
    loading.follow(async () => (await client.executions.get(id)).version);
    ways.push(loading.gaveUp);
  }
  try {
    const first = await Promise.race(ways);
    if (first !== null && first.status !== 'given up') {
      await following;
      view?.end();
      await answer(cli, client, entry, first, seen.isKept);
      return 'ended';
    }
    outcome.catch(() => undefined); // it rejects when the client is closed
    return first ?? 'interrupted';
  } finally {
    stop.abort();
    await following;
    view?.end();
  }
}

async function follow(client: Client, id: string, view: TaskView, signal: AbortSignal): Promise<void> {
  for await (const event of client.executions.watch(id, { signal })) view.event(event);
}

async function answer(
  cli: Cli,
  client: Client,
  entry: WorkflowEntry,
  outcome: ExecutionOutcome<Json>,
  isKept: boolean,
): Promise<void> {
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
  cli.output.note(endText(outcome, took, isKept));
}

function endText(outcome: ExecutionOutcome<Json>, took: string, isKept: boolean): string {
  const { stderr } = process;
  const { executionId: id, status } = outcome;
  const which = isKept ? `, execution ${id}` : '';
  if (outcome.status === 'completed') return `${paint('green', 'completed', stderr)}${took}${which}`;
  const { task, error } = outcome;
  const where = task === null ? '' : ` in task ${task}`;
  const why = error === null ? '' : `: ${error.message} (${error.code})`;
  const below = error === null ? [] : linesBelow(error, false).map((line) => `\n${indented(line)}`);
  const more = isKept ? `\nDetails: cloacina execution show ${id}` : '';
  return `${paint('red', status, stderr)}${took}${which}${indented(`${where}${why}`)}${below.join('')}${more}`;
}

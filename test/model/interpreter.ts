import type { ModelGraph, ModelTask, Try } from './graphs.ts';

/** The end of a task of the model. A skip may have any of several causes: whichever need ended first. */
export type Ended =
  | { readonly status: 'completed'; readonly output: unknown }
  | { readonly status: 'failed'; readonly code: string }
  | { readonly status: 'skipped'; readonly reasons: ReadonlySet<string> };

export interface Expected {
  readonly tasks: readonly Ended[];
  readonly status: 'completed' | 'failed';
  /** Of a completed execution. */
  readonly output: unknown;
  /** Of a failed one: any of these. */
  readonly errorCodes: ReadonlySet<string>;
}

/** engine.md (What a graph means, Attempts), as simply as possible: no time, no crash, no order. */
export function interpret(graph: ModelGraph): Expected {
  const ended: Ended[] = [];
  for (const [index, task] of graph.tasks.entries()) ended.push(endOf(task, index, ended));
  const unhandled = ended.flatMap((end, index) => {
    if (end.status !== 'failed' || isHandled(graph, ended, index)) return [];
    return [end.code];
  });
  const returned = graph.returns === null ? null : ended[graph.returns.task]!;
  const errorCodes = new Set(unhandled);
  if (graph.returns?.settled === false && errorCodes.size === 0 && returned!.status !== 'completed') {
    errorCodes.add(returned!.status === 'failed' ? returned!.code : 'OUTPUT_SKIPPED');
  }
  const output = graph.returns === null ? null : graph.returns.settled ? settledOf(returned!) : outputOf(returned!);
  return { tasks: ended, status: errorCodes.size === 0 ? 'completed' : 'failed', output, errorCodes };
}

/** True if some completed task took it as a settled need, or if it is returned as settled. */
function isHandled({ tasks, returns }: ModelGraph, ended: readonly Ended[], index: number): boolean {
  if (returns?.task === index) return returns.settled;
  return tasks.some(({ needs }, by) => {
    return ended[by]!.status === 'completed' && needs.some((need) => need.task === index && need.settled);
  });
}

function endOf(task: ModelTask, index: number, ended: readonly Ended[]): Ended {
  const unmet = task.needs.filter((need) => !need.settled && ended[need.task]!.status !== 'completed');
  if (unmet.length > 0) {
    const reasons = unmet.map(({ task: need }) => {
      return `${ended[need]!.status === 'failed' ? 'need_failed' : 'need_skipped'} t${need}`;
    });
    return { status: 'skipped', reasons: new Set(reasons) };
  }
  if (task.when === 'throws') return { status: 'failed', code: 'WHEN' };
  if (task.when === false) return { status: 'skipped', reasons: new Set([`when_false t${index}`]) };
  const value = valueOf(task, index, ended);
  switch (task.kind) {
    case 'sleep':
      return { status: 'completed', output: null };
    case 'wait':
      return { status: 'completed', output: `signal ${index}` };
    case 'map':
      return mapEnd(task, value);
    default:
      return runEnd(task, 'task', value);
  }
}

/** The output of a task: its place and its inputs, so that a wrong or a stale need is visible. */
export function valueOf(task: Pick<ModelTask, 'needs'>, index: number, ended: readonly Ended[]): unknown {
  const needs = task.needs.map(({ task: need, settled }) => {
    return settled ? ended[need]!.status : outputOf(ended[need]!);
  });
  return [index, hash(JSON.stringify(needs))];
}

function outputOf(end: Ended): unknown {
  return end.status === 'completed' ? end.output : null;
}

/** The value of a settled need, as far as the model predicts it. */
function settledOf(end: Ended): unknown {
  return end.status === 'completed' ? { status: 'completed', output: end.output } : { status: end.status };
}

function mapEnd(task: ModelTask, value: unknown): Ended {
  const items = Array.from({ length: task.items }, (_, item) =>
    runEnd(task, item === 0 ? 'first' : 'item', [value, item]),
  );
  if (task.settledItems) {
    return {
      status: 'completed',
      output: items.map((end) => (end.status === 'completed' ? end.output : `failed ${codeOf(end)}`)),
    };
  }
  const failed = items.find((end) => end.status === 'failed');
  if (failed !== undefined) return failed;
  return { status: 'completed', output: items.map(outputOf) };
}

function codeOf(end: Ended): string {
  return end.status === 'failed' ? end.code : end.status;
}

/** One function with its retries. */
function runEnd(task: ModelTask, what: 'task' | 'first' | 'item', value: unknown): Ended {
  if (what === 'first') return { status: 'completed', output: value };
  for (let attempt = 1; ; attempt++) {
    const tried = tryOf(task.tries, attempt);
    if (tried === 'ok') return { status: 'completed', output: value };
    if (tried === 'value') return { status: 'completed', output: null };
    const code = tried === 'hang' ? 'TASK_TIMED_OUT' : tried === 'fatal' ? 'FATAL' : 'FAIL';
    if (tried === 'fatal' || attempt >= task.attempts) return { status: 'failed', code };
  }
}

export function tryOf(tries: readonly Try[], attempt: number): Try {
  return tries[Math.min(attempt, tries.length) - 1]!;
}

/** FNV-1a, 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/): keeps outputs short however deep the graph. */
export function hash(text: string): string {
  let value = 0x811c9dc5;
  for (const char of text) value = Math.imul(value ^ char.codePointAt(0)!, 0x01000193) >>> 0;
  return value.toString(36);
}

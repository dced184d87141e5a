import { formatMs } from '../core/duration.ts';
import { indented, oneLine } from '../core/plain.ts';
import type { ExecutionEvent } from '../engine/client/execution-queries.ts';
import { paint } from './output.ts';
import type { Style } from './output.ts';

/** Shows the progress of the tasks of one execution on stderr, so that stdout has only the result. */
export interface TaskView {
  event(event: ExecutionEvent): void;
  /** The reported progress of a running task, 0 to 1. */
  progress(task: string, done: number, text: string | null): void;
  /** A line that a task wrote; it stays above the list. */
  line(text: string): void;
  /** Shows the last state and restores the terminal. */
  end(): void;
}

/** A live list if the stream is a terminal, otherwise one line for each change. */
export function openTaskView(tasks: readonly string[], stream: NodeJS.WriteStream): TaskView {
  return stream.isTTY ? new LiveTaskView(tasks, stream) : new LineTaskView(stream);
}

interface Change {
  readonly state: 'running' | 'waiting' | 'completed' | 'failed' | 'skipped' | 'cancelled';
  readonly text: string;
}

const states: Readonly<Record<string, Change['state']>> = {
  'task.started': 'running',
  'task.waiting': 'waiting',
  'task.retrying': 'waiting',
  'task.completed': 'completed',
  'task.failed': 'failed',
  'task.skipped': 'skipped',
  'task.cancelled': 'cancelled',
};

const styles: Readonly<Record<Change['state'] | 'pending', Style>> = {
  pending: 'dim',
  running: 'cyan',
  waiting: 'yellow',
  completed: 'green',
  failed: 'red',
  skipped: 'dim',
  cancelled: 'yellow',
};

/** The change of a task by an event; null if its state does not change. */
function changeOf(event: ExecutionEvent, startedAt: number | undefined): Change | null {
  const state = states[event.type];
  if (state === undefined || event.task === null) return null;
  const data = (event.data ?? {}) as { readonly [field: string]: unknown };
  // a start that became durable together with its end has no event of its own
  const began = typeof data['startedAt'] === 'string' ? Date.parse(data['startedAt']) : startedAt;
  const took = began === undefined || event.type === 'task.started' ? '' : formatMs(event.at - began);
  const attempt = (event.attempt ?? 1) > 1 ? `attempt ${event.attempt}` : '';
  return { state, text: [changeText(event, data), attempt, took].filter((part) => part !== '').join(', ') };
}

function changeText({ type, at }: ExecutionEvent, data: { readonly [field: string]: unknown }): string {
  const text = (field: string): string => (typeof data[field] === 'string' ? data[field] : '');
  const error = [text('message'), text('rootCause')].filter((part) => part !== '').join(': ');
  switch (type) {
    case 'task.retrying':
      return `retry in ${formatMs(Math.max(0, Date.parse(text('at')) - at))}: ${error}`;
    case 'task.failed':
      return error;
    case 'task.skipped':
      return text('reason').replaceAll('_', ' ');
    case 'task.waiting':
      return text('until') === '' ? '' : `until ${text('until')}`;
    default:
      return '';
  }
}

class LineTaskView implements TaskView {
  readonly #stream: NodeJS.WriteStream;
  readonly #startedAt = new Map<string, number>();

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  event(event: ExecutionEvent): void {
    const change = changeOf(event, this.#startedAt.get(event.task ?? ''));
    if (change === null) return;
    const task = event.task!;
    if (change.state === 'running') this.#startedAt.set(task, event.at);
    else this.#startedAt.delete(task);
    const word = event.type.slice('task.'.length);
    this.#stream.write(`${indented(`${task} ${word}${change.text === '' ? '' : ` (${change.text})`}`)}\n`);
  }

  progress(task: string, done: number, text: string | null): void {
    this.#stream.write(`${indented(`${task} ${progressText(done, text)}`)}\n`);
  }

  line(text: string): void {
    this.#stream.write(`${text}\n`);
  }

  end(): void {
    this.#startedAt.clear();
  }
}

interface Row {
  readonly name: string;
  state: Change['state'] | 'pending';
  text: string;
  startedAt: number | undefined;
}

const frameMs = 80;

/** Redraws its lines in place. If the tasks do not fit, active and failed ones come first. */
class LiveTaskView implements TaskView {
  readonly #stream: NodeJS.WriteStream;
  readonly #rows: Map<string, Row>;
  readonly #timer: NodeJS.Timeout;
  #drawn = 0;
  #frame = 0;
  #ended = false;
  readonly #showCursor = (): void => {
    this.#stream.write('\u001b[?25h');
  };

  constructor(tasks: readonly string[], stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.#rows = new Map(
      tasks.map((name) => [name, { name, state: 'pending', text: '', startedAt: undefined } satisfies Row]),
    );
    this.#stream.write('\u001b[?25l');
    process.on('exit', this.#showCursor);
    this.#timer = setInterval(() => this.#draw(this.#most()), frameMs);
    this.#timer.unref();
  }

  event(event: ExecutionEvent): void {
    const row = this.#rows.get(event.task ?? '');
    const change = changeOf(event, row?.startedAt);
    if (row === undefined || change === null) return;
    row.startedAt = change.state === 'running' ? event.at : undefined;
    row.state = change.state;
    row.text = change.text;
  }

  progress(task: string, done: number, text: string | null): void {
    const row = this.#rows.get(task);
    if (row?.state === 'running') row.text = progressText(done, text);
  }

  line(text: string): void {
    const up = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : '';
    this.#stream.write(`${up}\r\u001b[0J${text}\n`);
    this.#drawn = 0;
    if (!this.#ended) this.#draw(this.#most());
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    // lines above the screen cannot be redrawn, so a long list stays short to its end
    this.#draw(this.#most());
    process.off('exit', this.#showCursor);
    this.#showCursor();
  }

  /** Number of rows that fit on the screen, including one for the rest. */
  #most(): number {
    return Math.max(3, (this.#stream.rows ?? 24) - 3);
  }

  #draw(most: number): void {
    this.#frame += 1;
    const all = [...this.#rows.values()];
    const lines = all.length <= most ? all.map((row) => this.#line(row)) : this.#summary(all, most);
    const up = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : '';
    this.#stream.write(`${up}${lines.map((line) => `\r\u001b[2K${line}\n`).join('')}\u001b[0J`);
    this.#drawn = lines.length;
  }

  #summary(all: readonly Row[], most: number): string[] {
    const order: readonly Row['state'][] = [
      'running',
      'failed',
      'waiting',
      'cancelled',
      'pending',
      'completed',
      'skipped',
    ];
    const byState = Map.groupBy(all, (row) => row.state);
    const shown = order.flatMap((state) => byState.get(state) ?? []).slice(0, most - 1);
    const counts = order.flatMap((state) => (byState.has(state) ? [`${byState.get(state)!.length} ${state}`] : []));
    return [...shown.map((row) => this.#line(row)), `  ${all.length} tasks: ${counts.join(', ')}`];
  }

  #line(row: Row): string {
    const width = Math.min(40, Math.max(...Array.from(this.#rows.keys(), (name) => name.length)));
    const running = row.state === 'running' && row.startedAt !== undefined;
    const text = row.text !== '' ? row.text : running ? formatMs(Math.max(0, Date.now() - row.startedAt!)) : '';
    const room = Math.max(10, (this.#stream.columns ?? 80) - width - 4);
    const name = oneLine(row.name).slice(0, width).padEnd(width);
    const shown = oneLine(text).slice(0, room);
    const paintIn = (style: Style, word: string): string => paint(style, word, this.#stream);
    return `${paintIn(styles[row.state], this.#mark(row.state))} ${name}  ${paintIn('dim', shown)}`.trimEnd();
  }

  #mark(state: Row['state']): string {
    const marks = unicode ? '·⠿✔✖-' : '. *x-';
    if (state === 'running') return spinner[this.#frame % spinner.length]!;
    if (state === 'completed') return marks[2]!;
    if (state === 'failed' || state === 'cancelled') return marks[3]!;
    return state === 'skipped' ? marks[4]! : marks[0]!;
  }
}

/** Old Windows consoles have fonts without these characters. */
const unicode = process.platform !== 'win32' || process.env['WT_SESSION'] !== undefined;
const spinner = unicode ? '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏' : '|/-\\';

function progressText(done: number, text: string | null): string {
  return `${Math.round(done * 100)} %${text === null ? '' : ` ${text}`}`;
}

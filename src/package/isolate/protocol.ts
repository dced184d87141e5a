import type { Question, TaskCall } from '../../engine/workflow-code.ts';
import { maxDurationMs } from '../../core/duration.ts';
import type { Issue } from '../../core/error.ts';
import type { TaskError } from '../../core/task-error.ts';
import { cleanText } from '../../core/text.ts';
import { maxIndexedBytes } from '../../core/text.ts';
import { readIssues, readTaskError } from './bounds.ts';

/** A call without its payloads, which are sent as texts beside the message: input, item (if there is one), needs. */
export interface CallHead extends Omit<TaskCall, 'input' | 'itemValue' | 'needs'> {
  readonly needs: readonly string[];
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export type OutputStream = 'stdout' | 'stderr';

/** Messages of the host. `id` names a call, `ref` a request of the guest. Comments list the texts in brackets. */
export type ToGuest =
  | { readonly kind: 'load'; readonly entry: string; readonly env: Readonly<Record<string, string>> }
  /** [payloads of the call] */
  | { readonly kind: 'run'; readonly id: number; readonly call: CallHead }
  /** [payloads of the call] */
  | { readonly kind: 'ask'; readonly id: number; readonly question: Question; readonly call: CallHead }
  /** [input] */
  | { readonly kind: 'parse'; readonly id: number; readonly workflow: string; readonly maxPayload: number }
  /** [payload] */
  | {
      readonly kind: 'signal';
      readonly id: number;
      readonly workflow: string;
      readonly task: string;
      readonly maxPayload: number;
    }
  | { readonly kind: 'abort'; readonly id: number; readonly reason: TaskError }
  /** Answers `step` ([result] if it was stored before) and `save`. */
  | { readonly kind: 'answer'; readonly ref: number; readonly error: TaskError | null }
  | { readonly kind: 'ping' };

/** Messages of the guest. Comments list the texts in brackets. */
export type ToHost =
  /** The process has started; the package's code is not loaded yet. */
  | { readonly kind: 'up' }
  /** [JSON of the specs of the workflows that the package exports] */
  | { readonly kind: 'loaded' }
  | { readonly kind: 'refused'; readonly error: TaskError }
  /** [output] */
  | { readonly kind: 'completed'; readonly id: number }
  | {
      readonly kind: 'failed';
      readonly id: number;
      readonly error: TaskError;
      readonly retryable: boolean;
      readonly retryAfter: number | null;
    }
  /** [input] */
  | { readonly kind: 'valid'; readonly id: number }
  | { readonly kind: 'invalid'; readonly id: number; readonly issues: readonly Issue[] }
  /** The task uses its signal: from now on an abort must be sent. */
  | { readonly kind: 'watch'; readonly id: number }
  | { readonly kind: 'step'; readonly id: number; readonly ref: number; readonly name: string }
  /** [result] */
  | { readonly kind: 'save'; readonly id: number; readonly ref: number; readonly name: string }
  /** [data] if there is any */
  | { readonly kind: 'log'; readonly id: number; readonly level: LogLevel; readonly message: string }
  /** A line that the task wrote. */
  | { readonly kind: 'output'; readonly id: number; readonly stream: OutputStream; readonly line: string }
  | { readonly kind: 'progress'; readonly id: number; readonly done: number; readonly text: string | null }
  /** `rss`: memory of the process, bytes. */
  | { readonly kind: 'pong'; readonly rss: number };

export function splitCall(call: TaskCall): { readonly head: CallHead; readonly texts: readonly string[] } {
  const { input, itemValue, needs, ...rest } = call;
  const texts = itemValue === null ? [input] : [input, itemValue];
  for (const [, value] of needs) texts.push(value);
  return { head: { ...rest, needs: needs.map(([alias]) => alias) }, texts };
}

export function joinCall(head: CallHead, texts: readonly string[]): TaskCall {
  const first = head.item === null ? 1 : 2;
  return {
    ...head,
    input: texts[0]!,
    itemValue: head.item === null ? null : texts[1]!,
    needs: head.needs.map((alias, i) => [alias, texts[first + i]!] as const),
  };
}

/**
 * Checks a message of a guest before the host acts on it, and bounds its content: the code of a package can write
 * anything to the channel, and that must cost no more than the guest's process. Throws a plain Error that names the
 * fault.
 */
export function readToHost(value: unknown, texts: readonly string[]): ToHost {
  if (!isRecord(value)) throw new Error('a message that is not an object');
  const message = hasShape(value, texts) ? bounded(value as unknown as ToHost) : undefined;
  if (message !== undefined) return message;
  const kind: unknown = value['kind'];
  throw new Error(`a malformed message of kind ${typeof kind === 'string' ? cleanText(kind, 50) : typeof kind}`);
}

/** Rebuilds the error and the issues of a message; undefined if they are malformed. */
function bounded(message: ToHost): ToHost | undefined {
  if (message.kind === 'failed' || message.kind === 'refused') {
    const error = readTaskError(message.error);
    return error === undefined ? undefined : { ...message, error };
  }
  if (message.kind === 'invalid') {
    const issues = readIssues(message.issues);
    return issues === undefined ? undefined : { ...message, issues };
  }
  return message;
}

function hasShape(m: Readonly<Record<string, unknown>>, texts: readonly string[]): boolean {
  switch (m['kind']) {
    case 'up':
    case 'refused':
      return true;
    case 'pong':
      return isCount(m['rss']);
    case 'loaded':
      return texts.length === 1;
    case 'completed':
    case 'valid':
      return isCount(m['id']) && texts.length === 1;
    case 'failed':
      return isCount(m['id']) && typeof m['retryable'] === 'boolean' && isDelay(m['retryAfter']);
    case 'invalid':
    case 'watch':
      return isCount(m['id']);
    case 'step':
      return isCount(m['id']) && isCount(m['ref']) && isStepName(m['name']);
    case 'save':
      return isCount(m['id']) && isCount(m['ref']) && isStepName(m['name']) && texts.length === 1;
    case 'log':
      return isCount(m['id']) && isLevel(m['level']) && typeof m['message'] === 'string' && texts.length <= 1;
    case 'output':
      return (
        isCount(m['id']) && (m['stream'] === 'stdout' || m['stream'] === 'stderr') && typeof m['line'] === 'string'
      );
    case 'progress':
      return isCount(m['id']) && typeof m['done'] === 'number' && (m['text'] === null || typeof m['text'] === 'string');
    default:
      return false;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isDelay(value: unknown): boolean {
  return value === null || (typeof value === 'number' && value >= 0 && value <= maxDurationMs);
}

function isLevel(value: unknown): value is LogLevel {
  return value === 'debug' || value === 'info' || value === 'warn' || value === 'error';
}

function isStepName(value: unknown): boolean {
  return typeof value === 'string' && Buffer.byteLength(value) <= maxIndexedBytes;
}

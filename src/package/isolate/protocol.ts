import type { Question, TaskCall } from '../../engine/workflow-code.ts';
import type { Issue } from '../../core/error.ts';
import type { TaskError } from '../../core/task-error.ts';
import { cleanText } from '../../core/text.ts';
import { maxStepName, readIssues, readTaskError } from './bounds.ts';

/** A call without its payloads, which travel as texts beside the message: input, item (where there is one), needs. */
export interface CallHead extends Omit<TaskCall, 'input' | 'itemValue' | 'needs'> {
  readonly needs: readonly string[];
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** What the host says. `id` names a call, `ref` a question that the guest asked. Texts in brackets. */
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
  /** Answers `step` ([result] where there is one) and `save`. */
  | { readonly kind: 'answer'; readonly ref: number; readonly error: TaskError | null }
  | { readonly kind: 'ping' };

/** What the guest says. Texts in brackets. */
export type ToHost =
  /** The process is up; the package's code is not loaded yet. */
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
  /** The task looks at its signal: from now on an abort is worth a message. */
  | { readonly kind: 'watch'; readonly id: number }
  | { readonly kind: 'step'; readonly id: number; readonly ref: number; readonly name: string }
  /** [result] */
  | { readonly kind: 'save'; readonly id: number; readonly ref: number; readonly name: string }
  /** [data] where there is some */
  | { readonly kind: 'log'; readonly id: number; readonly level: LogLevel; readonly message: string }
  | { readonly kind: 'progress'; readonly id: number; readonly done: number; readonly text: string | null }
  /** `rss`: bytes that the process holds. */
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
 * Checks a message from a guest before the host acts on it, and bounds what it carries: the code of a package runs in the
 * guest's process, and whatever it does to the channel must cost no more than that process. Throws a plain Error that says what is wrong.
 */
export function readToHost(value: unknown, texts: readonly string[]): ToHost {
  if (!isRecord(value)) throw new Error('a message that is not an object');
  const message = hasShape(value, texts) ? bounded(value as unknown as ToHost) : undefined;
  if (message !== undefined) return message;
  const kind: unknown = value['kind'];
  throw new Error(`a malformed message of kind ${typeof kind === 'string' ? cleanText(kind, 50) : typeof kind}`);
}

/** The message with its error and its issues made anew; undefined where they are none. */
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
  return value === null || (typeof value === 'number' && value >= 0 && value <= longestDelayMs);
}

/** A thousand years, as for every duration: a time that far from now is still a date. */
const longestDelayMs = 31_557_600_000_000;

function isLevel(value: unknown): value is LogLevel {
  return value === 'debug' || value === 'info' || value === 'warn' || value === 'error';
}

function isStepName(value: unknown): boolean {
  return typeof value === 'string' && value.length <= maxStepName;
}

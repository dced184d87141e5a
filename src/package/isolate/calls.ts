import { CloacinaError } from '../../core/error.ts';
import { toTaskError } from '../../core/foreign/thrown.ts';
import { cleanText } from '../../core/text.ts';
import { maxMapBytes } from '../../engine/execution/map-items.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { InputOutcome, Outcome, Question, TaskCall, TaskHost } from '../../engine/workflow-code.ts';
import { batchBytes, boundLogData, checkBytes, itemsFault, jsonFault, maxMessageText } from './bounds.ts';
import { splitCall } from './protocol.ts';
import type { OutputStream, ToGuest, ToHost } from './protocol.ts';

/** A request to a package's code. */
export type Request =
  | { readonly kind: 'run'; readonly call: TaskCall; readonly host: TaskHost }
  | { readonly kind: 'ask'; readonly question: Question; readonly call: TaskCall }
  | { readonly kind: 'parse'; readonly workflow: string; readonly input: string; readonly maxPayload: number }
  | {
      readonly kind: 'signal';
      readonly workflow: string;
      readonly task: string;
      readonly input: string;
      readonly maxPayload: number;
    };

export type Reply = Outcome | InputOutcome;

type CallMessage = Exclude<ToHost, { kind: 'up' | 'loaded' | 'refused' | 'pong' }>;

interface Entry {
  readonly id: number;
  readonly request: Request;
  readonly resolve: (reply: Reply) => void;
  sent: boolean;
  /** True if the guest must be told of an abort. */
  watched: boolean;
}

export interface CallEvents {
  send(message: ToGuest, texts?: readonly string[]): void;
  /** No call is left. */
  empty(): void;
  /** A task wrote a line; `call` is undefined if it has ended. */
  output(stream: OutputStream, line: string, call: TaskCall | undefined): void;
}

/** The calls of one process: those waiting until it is ready, and those running in it. */
export class GuestCalls {
  readonly #send: CallEvents['send'];
  readonly #empty: () => void;
  readonly #output: CallEvents['output'];
  readonly #entries = new Map<number, Entry>();
  readonly #unsent: Entry[] = [];
  #lastId = 0;
  #largest = batchBytes;

  constructor(events: CallEvents) {
    this.#send = (message, texts) => events.send(message, texts);
    this.#empty = () => events.empty();
    this.#output = (stream, line, call) => events.output(stream, line, call);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Maximum size of a text in an answer, bytes. It never shrinks, since an earlier request may be answered late. */
  get largestAnswer(): number {
    return this.#largest;
  }

  has(call: TaskCall): boolean {
    return this.#find(call) !== undefined;
  }

  /** The task calls that have begun. */
  running(): readonly TaskCall[] {
    const found: TaskCall[] = [];
    for (const { sent, request } of this.#entries.values()) if (sent && 'call' in request) found.push(request.call);
    return found;
  }

  add(request: Request): Promise<Reply> {
    return new Promise((resolve) => {
      const entry: Entry = { id: ++this.#lastId, request, resolve, sent: false, watched: false };
      this.#largest = Math.max(this.#largest, answerBytes(request));
      this.#entries.set(entry.id, entry);
      this.#unsent.push(entry);
    });
  }

  sendAll(): void {
    for (const entry of this.#unsent.splice(0)) if (this.#entries.has(entry.id)) this.#post(entry);
  }

  /** Drops a call that has not begun; returns false if it has begun or is not here. */
  drop(call: TaskCall): boolean {
    const entry = this.#find(call);
    if (entry === undefined || entry.sent) return false;
    const error = new CloacinaError('ISOLATE_EXITED', 'the call was abandoned before a process was ready');
    this.#settle(entry, { status: 'lost', alone: false, error: toTaskError(error) });
    return true;
  }

  /**
   * Ends all calls with the process. `charged`: the process ended by a fault that may be a call's own; it is attributed
   * to a call only if that call was alone.
   */
  lose(error: TaskError, charged: boolean): void {
    const begun = [...this.#entries.values()].filter((entry) => entry.sent).length;
    for (const entry of this.#entries.values()) {
      this.#settle(entry, { status: 'lost', alone: charged && entry.sent && begun === 1, error });
    }
  }

  /** Fails all calls because the package did not load: their attempts failed and may be repeated. */
  refuse(refusal: CloacinaError): void {
    const error = toTaskError(refusal);
    for (const entry of this.#entries.values()) {
      // an input has no attempt that could fail, so it counts as a call that ended its process
      const lost = { status: 'lost', alone: true, error } as const;
      const retry = { status: 'failed', error, retryable: true, retryAfter: null } as const;
      this.#settle(entry, !('call' in entry.request) ? lost : retry);
    }
  }

  /** Applies a guest's message about a call; messages about ended calls are ignored. Throws if a bound is exceeded. */
  receive(message: CallMessage, texts: readonly string[]): void {
    const entry = this.#entries.get(message.id);
    if (entry === undefined) {
      if (message.kind === 'step' || message.kind === 'save') this.#answer(message.ref, Promise.reject(over()));
      if (message.kind === 'output') this.#output(message.stream, cleanText(message.line), undefined);
      return;
    }
    const { request } = entry;
    switch (message.kind) {
      case 'completed':
      case 'failed':
      case 'valid':
      case 'invalid':
        this.#settle(entry, readReply(message, texts, request));
        return;
      default:
        if (request.kind === 'run') this.#serve(entry, request, message, texts);
    }
  }

  #serve(
    entry: Entry,
    { host, call }: Extract<Request, { kind: 'run' }>,
    message: Exclude<CallMessage, { kind: 'completed' | 'failed' | 'valid' | 'invalid' }>,
    texts: readonly string[],
  ): void {
    switch (message.kind) {
      case 'log':
        host.log(message.level, message.message, boundLogData(texts[0]));
        return;
      case 'output': {
        const { stream } = message;
        const line = cleanText(message.line);
        host.log(stream === 'stdout' ? 'info' : 'warn', line, JSON.stringify({ stream }));
        this.#output(stream, line, call);
        return;
      }
      case 'progress':
        host.progress(message.done, message.text === null ? null : cleanText(message.text));
        return;
      case 'step':
        this.#answer(message.ref, host.stepResult(message.name));
        return;
      case 'save':
        checkBytes('the result of a step', texts[0]!, call.maxPayload);
        this.#answer(message.ref, saved(host, message.name, texts[0]!));
        return;
      case 'watch':
        if (!entry.watched) this.#watch(entry, host.signal);
    }
  }

  #watch(entry: Entry, signal: AbortSignal): void {
    const { id } = entry;
    entry.watched = true;
    const tell = (): void => {
      const reason: unknown = signal.reason;
      if (this.#entries.has(id)) this.#send({ kind: 'abort', id, reason: toTaskError(reason, 'TASK_CANCELLED') });
    };
    if (signal.aborted) tell();
    else signal.addEventListener('abort', tell, { once: true });
  }

  #answer(ref: number, result: Promise<string | undefined | void>): void {
    result.then(
      (text) => this.#send({ kind: 'answer', ref, error: null }, typeof text === 'string' ? [text] : []),
      (error: unknown) => this.#send({ kind: 'answer', ref, error: toTaskError(error) }),
    );
  }

  #post(entry: Entry): void {
    const { id, request } = entry;
    const { message, texts } = encode(id, request);
    const length = texts.reduce((sum, text) => sum + text.length, 0);
    if (length > maxMessageText) return this.#settle(entry, tooLarge(request, length));
    entry.sent = true;
    this.#send(message, texts);
  }

  #settle(entry: Entry, reply: Reply): void {
    this.#entries.delete(entry.id);
    entry.resolve(reply);
    if (this.#entries.size === 0) this.#empty();
  }

  #find(call: TaskCall): Entry | undefined {
    for (const entry of this.#entries.values()) {
      if ('call' in entry.request && entry.request.call === call) return entry;
    }
    return undefined;
  }
}

function encode(id: number, request: Request): { readonly message: ToGuest; readonly texts: readonly string[] } {
  if (request.kind === 'parse') {
    const { workflow, input, maxPayload } = request;
    return { message: { kind: 'parse', id, workflow, maxPayload }, texts: [input] };
  }
  if (request.kind === 'signal') {
    const { workflow, task, input, maxPayload } = request;
    return { message: { kind: 'signal', id, workflow, task, maxPayload }, texts: [input] };
  }
  const { head, texts } = splitCall(request.call);
  if (request.kind === 'run') return { message: { kind: 'run', id, call: head }, texts };
  return { message: { kind: 'ask', id, question: request.question, call: head }, texts };
}

/**
 * Reads and checks a guest's answer: a package that replaces `JSON.stringify` or writes to the channel must not get
 * unreadable text into the store.
 */
function readReply(
  message: Extract<CallMessage, { kind: 'completed' | 'failed' | 'valid' | 'invalid' }>,
  texts: readonly string[],
  request: Request,
): Reply {
  const otherwise = 'the package returned an answer of the wrong kind';
  if (asksForInput(request)) {
    if (message.kind === 'valid') return valid(texts[0]!, request);
    if (message.kind === 'invalid') return { status: 'invalid', issues: message.issues };
    return invalid(message.kind === 'failed' ? message.error.message : otherwise);
  }
  if (message.kind === 'completed') return completed(texts[0]!, request);
  if (message.kind !== 'failed') return failed(new CloacinaError('ISOLATE_EXITED', otherwise));
  const { error, retryable, retryAfter } = message;
  return { status: 'failed', error, retryable, retryAfter };
}

function valid(input: string, request: Request): InputOutcome {
  checkBytes('an input', input, answerBytes(request));
  const fault = jsonFault(input);
  return fault === null ? { status: 'valid', input } : invalid(fault);
}

/** Maximum size of the answer to a request, bytes. */
function answerBytes(request: Request): number {
  switch (request.kind) {
    case 'run':
      return request.call.maxPayload;
    case 'ask':
      return request.question === 'over' ? maxMapBytes : request.call.maxPayload;
    default:
      // without a schema the answer is the same text, whose size was accepted before
      return Math.max(request.maxPayload, Buffer.byteLength(request.input));
  }
}

/**
 * Returns true if the answer is a value that a schema validated: the input of a workflow, or the payload of a signal.
 */
function asksForInput(request: Request): request is Extract<Request, { kind: 'parse' | 'signal' }> {
  return request.kind === 'parse' || request.kind === 'signal';
}

function completed(output: string, request: Exclude<Request, { kind: 'parse' | 'signal' }>): Outcome {
  checkBytes('an answer', output, answerBytes(request));
  try {
    const isMap = request.kind === 'ask' && request.question === 'over';
    const fault = isMap ? itemsFault(output, request.call.task) : jsonFault(output);
    return fault === null ? { status: 'completed', output } : failed(new CloacinaError('NOT_SERIALIZABLE', fault));
  } catch (error) {
    return failed(error); // there are too many items
  }
}

function failed(error: unknown): Outcome {
  return { status: 'failed', error: toTaskError(error), retryable: false, retryAfter: null };
}

function invalid(message: string): InputOutcome {
  return { status: 'invalid', issues: [{ path: '', message }] };
}

function tooLarge(request: Request, length: number): Reply {
  const text = `the values of the call have ${length} characters of JSON; an isolate takes at most ${maxMessageText}`;
  return asksForInput(request) ? invalid(text) : failed(new CloacinaError('PAYLOAD_TOO_LARGE', text));
}

function over(): Error {
  return new Error('the attempt has ended; its steps are no longer stored');
}

function saved(host: TaskHost, name: string, result: string): Promise<void> {
  const fault = jsonFault(result);
  if (fault === null) return host.saveStep(name, result);
  return Promise.reject(new CloacinaError('NOT_SERIALIZABLE', fault));
}

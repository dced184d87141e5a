import { Socket } from 'node:net';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { CloacinaError } from '../../core/error.ts';
import type { AnyWorkflow } from '../../core/definition/definition.ts';
import { boundIssues } from '../../core/definition/schema.ts';
import { reviveError } from '../../core/task-error.ts';
import { toTaskError } from '../../core/foreign/thrown.ts';
import type { TaskError } from '../../core/task-error.ts';
import { cleanText } from '../../core/text.ts';
import { functionsOf, isWorkflow } from '../../core/definition/workflow.ts';
import type { InputOutcome, Outcome, TaskHost, WorkflowCode } from '../../engine/workflow-code.ts';
import { inlineCode } from '../../engine/inline.ts';
import { ownFile } from '../../own-files.ts';
import { explained } from './guest/access.ts';
import { raiseSandbox } from './guest/sandbox.ts';
import { captureOutput, withOutput } from './guest/task-output.ts';
import { Link } from './link.ts';
import { maxMessageText } from './bounds.ts';
import { joinCall } from './protocol.ts';
import type { LogLevel, OutputStream, ToGuest, ToHost } from './protocol.ts';

// The guest's own functions are saved before the package is loaded, which may replace the globals.
const { stringify } = JSON;
const { pid } = process;
const rss = process.memoryUsage.rss.bind(process.memoryUsage);
const endSelf = process.kill.bind(process, pid, 'SIGKILL');

const channelFd = 3;

// by default ten; a failed `require` has eleven frames of Node's loader and of the sandbox above those of the package
Error.stackTraceLimit += 10;

/** Forwards the requests of a running task to the host. */
class RemoteHost implements TaskHost {
  readonly #id: number;
  #controller: AbortController | undefined;

  constructor(id: number) {
    this.#id = id;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      send({ kind: 'watch', id: this.#id });
    }
    return this.#controller.signal;
  }

  abort(reason: TaskError): void {
    this.#controller?.abort(reviveError(reason));
  }

  stepResult(name: string): Promise<string | undefined> {
    return question((ref) => send({ kind: 'step', id: this.#id, ref, name: asText(name) }));
  }

  async saveStep(name: string, result: string): Promise<void> {
    await question((ref) => send({ kind: 'save', id: this.#id, ref, name: asText(name) }, [result]));
  }

  log(level: LogLevel, message: string, data: string | null): void {
    send({ kind: 'log', id: this.#id, level, message: cleanText(asText(message)) }, data === null ? [] : [data]);
  }

  progress(done: number, text: string | null): void {
    if (Number.isFinite(done))
      send({ kind: 'progress', id: this.#id, done, text: text === null ? null : cleanText(asText(text)) });
  }
}

/** The code of a package may be plain JavaScript: its values need not have the declared type. */
function asText(value: unknown): string {
  return typeof value === 'string' ? value : inspect(value);
}

interface Waiting {
  resolve(text: string | undefined): void;
  reject(error: Error): void;
}

const workflows = new Map<string, WorkflowCode>();
const hosts = new Map<number, RemoteHost>();
const waiting = new Map<number, Waiting>();
let lastRef = 0;

const channel = new Socket({ fd: channelFd, readable: true, writable: true });
// the host ended or released this process: no result could reach it
channel.on('close', endSelf).on('end', endSelf).on('error', endSelf);
const link = new Link(channel, {
  message: (message, texts) => receive(message as ToGuest, texts),
  fault: (error) => {
    throw error;
  },
});

function send(message: ToHost, texts?: readonly string[]): void {
  link.send(message, texts);
}

function question(ask: (ref: number) => void): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const ref = ++lastRef;
    waiting.set(ref, { resolve, reject });
    ask(ref);
  });
}

function receive(message: ToGuest, texts: readonly string[]): void {
  switch (message.kind) {
    case 'load':
      void load(message.entry, message.env);
      return;
    case 'run': {
      const host = new RemoteHost(message.id);
      hosts.set(message.id, host);
      const call = joinCall(message.call, texts);
      const line = (stream: OutputStream, text: string): void => {
        send({ kind: 'output', id: message.id, stream, line: text });
        link.flush(); // the next line of the task may be an endless loop
      };
      void answer(message.id, call.workflow, (code) => withOutput(line, () => code.run(call, host)));
      return;
    }
    case 'ask': {
      const call = joinCall(message.call, texts);
      void answer(message.id, call.workflow, (code) => code.ask(message.question, call));
      return;
    }
    case 'parse':
      void answer(message.id, message.workflow, (code) => code.parseInput(texts[0]!, message.maxPayload, false));
      return;
    case 'signal': {
      const { task, maxPayload } = message;
      void answer(message.id, message.workflow, (code) => code.parseSignal(task, texts[0]!, maxPayload, false));
      return;
    }
    case 'abort':
      hosts.get(message.id)?.abort(message.reason);
      return;
    case 'answer':
      answered(message.ref, message.error, texts[0]);
      return;
    case 'ping':
      send({ kind: 'pong', rss: rss() });
  }
}

async function answer(
  id: number,
  workflow: string,
  call: (code: WorkflowCode) => Promise<Outcome | InputOutcome>,
): Promise<void> {
  const code = workflows.get(workflow);
  if (code === undefined) {
    const error = new CloacinaError('PACKAGE_LOAD_FAILED', `the package exports no workflow '${workflow}'`);
    send({ kind: 'failed', id, error: toTaskError(error), retryable: false, retryAfter: null });
    return;
  }
  const outcome = await call(code);
  hosts.delete(id);
  reply(id, outcome);
}

function reply(id: number, outcome: Outcome | InputOutcome): void {
  switch (outcome.status) {
    case 'completed':
      if (outcome.output.length > maxMessageText) return tooLarge(id, outcome.output.length);
      return send({ kind: 'completed', id }, [outcome.output]);
    case 'valid':
      return send({ kind: 'valid', id }, [outcome.input]);
    case 'invalid':
      return send({
        kind: 'invalid',
        id,
        issues: boundIssues(outcome.issues, ({ path, message }) => ({ path, message: asText(message) })),
      });
    case 'failed': {
      const { error, retryable, retryAfter } = outcome;
      return send({ kind: 'failed', id, error: explained(error), retryable, retryAfter });
    }
    case 'lost': // sent by hosts only
  }
}

function tooLarge(id: number, length: number): void {
  const text = `the answer has ${length} characters of JSON; an isolate passes on at most ${maxMessageText}`;
  const error = toTaskError(new CloacinaError('PAYLOAD_TOO_LARGE', text));
  send({ kind: 'failed', id, error, retryable: false, retryAfter: null });
}

function answered(ref: number, error: TaskError | null, text: string | undefined): void {
  const asked = waiting.get(ref);
  waiting.delete(ref);
  if (error === null) asked?.resolve(text);
  else asked?.reject(reviveError(error));
}

async function load(entry: string, env: Readonly<Record<string, string>>): Promise<void> {
  try {
    const exported = (await import(entry)) as Readonly<Record<string, unknown>>;
    const found = new Set([...Object.values(exported), ...members(exported['default'])].filter(isWorkflow));
    // child workflows are included, exported or not
    for (const workflow of found) for (const child of functionsOf(workflow).children.values()) found.add(child);
    const specs = [...found].map((workflow) => add(workflow, env));
    send({ kind: 'loaded' }, [stringify(specs)]);
  } catch (error) {
    send({ kind: 'refused', error: explained(toTaskError(error, 'PACKAGE_LOAD_FAILED', 'its code')) });
  }
}

/** A CommonJS module has its exports in one object, which an ES module imports as its default export. */
function members(value: unknown): readonly unknown[] {
  if (typeof value !== 'object' || value === null || isWorkflow(value)) return [];
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || Array.isArray(value) ? Object.values(value) : [];
}

function add(workflow: AnyWorkflow, env: Readonly<Record<string, string>>): AnyWorkflow['spec'] {
  if (workflows.has(workflow.name)) throw new Error(`the package exports two workflows named '${workflow.name}'`);
  workflows.set(workflow.name, inlineCode(workflow, { env }));
  return workflow.spec;
}

// Signals to the process group (Ctrl-C, a service manager) are meant for the host, which lets the tasks end first.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
captureOutput();
raiseSandbox(pathToFileURL(ownFile('package/isolate/guest-api')).href, channel);
send({ kind: 'up' });

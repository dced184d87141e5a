import type { ChildProcess } from 'node:child_process';
import { basename, join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { messageOf } from '../../core/foreign/error-text.ts';
import { CloacinaError } from '../../core/error.ts';
import { formatMs } from '../../core/duration.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { Clock, Timer } from '../../engine/clock.ts';
import type { TaskCall } from '../../engine/workflow-code.ts';
import type { Logger } from '../../engine/logger.ts';
import { maxHeaderBytes, maxMessages } from './bounds.ts';
import { GuestCalls } from './calls.ts';
import type { Reply, Request } from './calls.ts';
import { exitError, isOutOfMemory, slowHint } from './exit-reason.ts';
import type { ExitReason, ProcessExit } from './exit-reason.ts';
import { checkExports, loadError, placeIn, readSpecs } from './exports.ts';
import { Heartbeat } from './heartbeat.ts';
import { Link } from './link.ts';
import { MemoryWatch } from './memory.ts';
import { OutputLines } from './output.ts';
import { readToHost } from './protocol.ts';
import type { OutputStream, ToHost } from './protocol.ts';
import { reaper } from './reaper.ts';
import { realFolder, spawnGuest } from './spawn.ts';

export interface IsolateProcessOptions {
  readonly dir: string;
  /** The module to load, relative to the folder. */
  readonly entry: string;
  /** The name of the package in messages. */
  readonly label: string;
  /** The workflows of the manifest; undefined if there is no manifest yet. */
  readonly expected: readonly WorkflowSpec[] | undefined;
  readonly env: { readonly granted: Readonly<Record<string, string>>; readonly all: Readonly<Record<string, string>> };
  readonly net: boolean;
  readonly heapMb: number;
  readonly offHeapMb: number;
  readonly stallMs: number;
  readonly startLimitMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The package is loaded and has no calls: once after loading, and after each end of the last call. */
  onIdle(): void;
  /** The process accepts no more calls: it is ending or has ended. */
  onEnding(): void;
  /** The process is gone. `exit` is undefined if it ended without any fault. */
  onGone(exit: ProcessExit | undefined): void;
}

const raiseHint = 'a runner raises that with packageMemory or --package-memory';

/** Maximum wait for the pipes of an exited process, or for the exit of a process that closed its channel. */
const lingerMs = 1000;

/** One process with the code of one package. It is started once and never restarted. */
export class IsolateProcess {
  /** Resolves with the exports of the package; rejects with PACKAGE_LOAD_FAILED. */
  readonly loaded: Promise<readonly WorkflowSpec[]>;
  readonly gone: Promise<void>;
  readonly #options: IsolateProcessOptions;
  readonly #calls: GuestCalls;
  readonly #heartbeat: Heartbeat;
  readonly #memory: MemoryWatch;
  readonly #loaded: PromiseWithResolvers<readonly WorkflowSpec[]> = Promise.withResolvers();
  readonly #gone: PromiseWithResolvers<void> = Promise.withResolvers();
  #state: 'waiting' | 'starting' | 'ready' | 'gone' = 'waiting';
  #ending: { readonly reason: ExitReason; readonly detail: string } | undefined;
  #refusal: CloacinaError | undefined;
  #entry = '';
  #isUp = false;
  #process: ChildProcess | undefined;
  #link: Link | undefined;
  #outputs: Readonly<Record<OutputStream, OutputLines>> | undefined;
  #timer: Timer | undefined;

  constructor(options: IsolateProcessOptions) {
    this.#options = options;
    this.loaded = this.#loaded.promise;
    this.loaded.catch(() => undefined); // a rejection need not be handled here: the waiting calls receive it in any case
    this.gone = this.#gone.promise;
    this.#calls = new GuestCalls({
      send: (message, texts) => this.#link?.send(message, texts),
      empty: () => this.#idle(),
      output: (stream, line, call) => this.#outputs?.[stream].told(line, call),
    });
    this.#heartbeat = new Heartbeat({
      clock: options.clock,
      stallMs: options.stallMs,
      ping: () => this.#link?.send({ kind: 'ping' }),
      stalled: () => this.end('stalled', formatMs(options.stallMs)),
    });
    this.#memory = new MemoryWatch({
      clock: options.clock,
      limitMb: options.heapMb + options.offHeapMb,
      over: (heldMb) => this.end('out_of_memory', this.#overText(heldMb)),
    });
  }

  holds(call: TaskCall): boolean {
    return this.#calls.has(call);
  }

  /** Accepts a call; it waits until the package is loaded. Always resolves. */
  submit(request: Request): Promise<Reply> {
    const reply = this.#calls.add(request);
    if (this.#state === 'ready') this.#calls.sendAll();
    return reply;
  }

  /** Drops a call that has not begun; otherwise ends the process, the only way to stop a running call. */
  abandon(call: TaskCall): void {
    if (!this.#calls.drop(call)) this.end('abandoned');
  }

  start(): void {
    this.#state = 'starting';
    this.#limitStart();
    try {
      const dir = realFolder(this.#options.dir);
      this.#entry = pathToFileURL(join(dir, this.#options.entry)).href;
      this.#attach(spawnGuest({ ...this.#options, dir, env: this.#options.env.all }));
    } catch (error) {
      this.#ending = { reason: 'not_started', detail: messageOf(error) };
      // deferred like every other end: the caller has not stored this object yet
      queueMicrotask(() => this.#finish(null, null));
    }
  }

  /** Ends the process. Its running calls are lost. */
  end(reason: ExitReason, detail = ''): void {
    if (this.#ending !== undefined || this.#state === 'gone') return;
    this.#ending = { reason, detail };
    this.#unwatch();
    this.#options.onEnding();
    if (this.#state === 'waiting') this.#finish(null, null);
    else this.#process?.kill('SIGKILL');
  }

  #idle(): void {
    if (this.#state !== 'ready' || this.#ending !== undefined) return;
    this.#options.onIdle();
  }

  /** Runs from loading until the end: a timer that a task left behind can grow or loop without any call. */
  #watch(): void {
    this.#heartbeat.start();
    if (this.#process?.pid !== undefined) this.#memory.start(this.#process.pid);
  }

  #unwatch(): void {
    this.#heartbeat.stop();
    this.#memory.stop();
  }

  #limitStart(): void {
    const { clock, label, startLimitMs } = this.#options;
    this.#timer = clock.timer(startLimitMs, () => {
      this.#refusal = loadError(label, `it took longer than ${formatMs(startLimitMs)}; ${slowHint}`);
      this.end('too_slow', formatMs(startLimitMs));
    });
  }

  #attach(child: ChildProcess): void {
    const { clock, logger, label } = this.#options;
    this.#process = child;
    let exit: readonly [number | null, string | null] = [null, null];
    child.on('error', (error) => {
      if (child.pid !== undefined) return; // a signal that came too late
      this.#ending ??= { reason: 'not_started', detail: error.message };
      this.#finish(null, null);
    });
    child.on('exit', (code, signal) => {
      exit = [code, signal];
      this.#later(() => this.#finish(code, signal));
    });
    child.on('close', () => this.#finish(...exit));
    if (child.pid === undefined) return;
    reaper.watch(child.pid);
    const fields = { package: label, pid: child.pid };
    const [, stdout, stderr, channel] = child.stdio as unknown as [null, Readable, Readable, Duplex];
    this.#outputs = {
      stdout: new OutputLines(stdout, clock, (line, call) => {
        logger.info({ ...fields, stream: 'stdout', ...attemptFields(call) }, line);
      }),
      stderr: new OutputLines(stderr, clock, (line, call) => {
        logger.warn({ ...fields, stream: 'stderr', ...attemptFields(call) }, line);
      }),
    };
    channel.on('error', () => undefined); // the process is ending, and its exit carries more information
    channel.on('close', () => this.#later(() => this.end('broke_protocol', 'it closed its channel')));
    const bounds = {
      headerBytes: maxHeaderBytes,
      messages: maxMessages,
      bodyBytes: () => this.#calls.largestAnswer,
    };
    const events = {
      message: (message: unknown, texts: readonly string[]) => this.#receive(readToHost(message, texts), texts),
      fault: (error: unknown) => this.end('broke_protocol', messageOf(error)),
    };
    this.#link = new Link(channel, events, bounds);
  }

  #later(fire: () => void): void {
    if (this.#state === 'gone') return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.timer(lingerMs, fire);
  }

  #receive(message: ToHost, texts: readonly string[]): void {
    this.#heartbeat.heard();
    switch (message.kind) {
      case 'up':
        if (this.#isUp) throw new Error('it started twice');
        this.#isUp = true;
        this.#link!.send({ kind: 'load', entry: this.#entry, env: this.#options.env.granted });
        this.#watch();
        return;
      case 'loaded':
        this.#ready(texts[0]!);
        return;
      case 'refused':
        this.#refuse(this.#loadError(message.error));
        return;
      case 'pong':
        this.#memory.reported(message.rss);
        return;
      default:
        this.#calls.receive(message, texts);
    }
  }

  #loadError(thrown: TaskError): CloacinaError {
    const { dir, label } = this.#options;
    const place = placeIn(thrown.stack ?? '', basename(realFolder(dir)));
    return loadError(label, `${place}${thrown.message}`, thrown);
  }

  #ready(text: string): void {
    if (this.#state !== 'starting' || this.#ending !== undefined) return;
    const { label, expected } = this.#options;
    const specs = readSpecs(text);
    const fault = expected === undefined ? null : checkExports(specs, expected);
    if (fault !== null) return this.#refuse(loadError(label, fault));
    this.#timer?.cancel();
    this.#state = 'ready';
    this.#loaded.resolve(specs);
    if (this.#calls.size === 0) this.#idle();
    else this.#calls.sendAll();
  }

  #refuse(error: CloacinaError): void {
    this.#refusal = error;
    this.end('unused');
  }

  #finish(code: number | null, signal: string | null): void {
    if (this.#state === 'gone') return;
    const wasReady = this.#state === 'ready';
    this.#state = 'gone';
    this.#timer?.cancel();
    this.#unwatch();
    if (this.#process?.pid !== undefined) reaper.forget(this.#process.pid);
    const asked = this.#ending;
    const reason = asked?.reason ?? (isOutOfMemory(this.#outputs?.stderr.tail ?? '') ? 'out_of_memory' : 'exited');
    this.#ending ??= { reason, detail: '' };
    this.#options.onEnding();
    const calls = this.#calls.running();
    const error = this.#error(reason, asked?.detail ?? '', code, signal);
    this.#settle(wasReady, reason, error);
    const innocent = reason === 'closed' || reason === 'unused';
    this.#options.onGone(innocent ? undefined : { reason, code, signal, calls, error });
    this.#gone.resolve();
  }

  #settle(wasReady: boolean, reason: ExitReason, error: TaskError): void {
    if (wasReady || reason === 'closed' || reason === 'abandoned') {
      this.#loaded.reject(new CloacinaError('ISOLATE_EXITED', error.message));
      this.#calls.lose(error, reason !== 'closed' && reason !== 'abandoned');
      return;
    }
    const refusal = this.#refusal ?? loadError(this.#options.label, error.message);
    this.#loaded.reject(refusal);
    this.#calls.refuse(refusal);
  }

  #error(reason: ExitReason, detail: string, code: number | null = null, signal: string | null = null): TaskError {
    const { label, heapMb } = this.#options;
    const more =
      reason === 'out_of_memory' && detail === '' ? `its heap is capped at ${heapMb} MB; ${raiseHint}` : detail;
    const tail = this.#outputs?.stderr.tail ?? '';
    return exitError({ label, reason, code, signal, detail: more, tail, calls: this.#calls.running().length });
  }

  #overText(heldMb: number): string {
    const { heapMb, offHeapMb } = this.#options;
    return `it held ${heldMb} MB, and may hold ${heapMb} MB of heap and ${offHeapMb} MB beside it, so it was killed; ${raiseHint}`;
  }
}

/** The attempt that wrote a line, for the logger. */
function attemptFields(call: TaskCall | undefined): object {
  if (call === undefined) return {};
  const { executionId: execution, task, item, attempt } = call;
  return { execution, task, ...(item === null ? {} : { item }), attempt };
}

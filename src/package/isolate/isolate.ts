import { CloacinaError } from '../../core/error.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { toTaskError } from '../../core/task-error.ts';
import { systemClock } from '../../engine/clock.ts';
import type { Clock, Timer } from '../../engine/clock.ts';
import type { InputOutcome, Outcome, TaskCall, WorkflowCode } from '../../engine/workflow-code.ts';
import type { Logger } from '../../engine/logger.ts';
import type { Reply, Request } from './calls.ts';
import { IsolateProcess } from './isolate-process.ts';
import type { IsolateProcessOptions } from './isolate-process.ts';
import type { IsolateExit } from './exit-reason.ts';
import { ProcessLimit } from './process-limit.ts';
import { isolateEnvironment } from './spawn.ts';

export type { IsolateExit } from './exit-reason.ts';

export interface IsolateOptions {
  /** The folder of the unpacked package; its code can read nothing else. */
  readonly dir: string;
  /** Called before each start of a process; if it throws, the process is not started. Default: nothing. */
  readonly prepare?: () => Promise<void>;
  /** The module to load, relative to the folder; default `code/index.mjs`. */
  readonly entry?: string;
  /** The name of the package in messages and logs: `simple_demo v1.0.0`. */
  readonly label: string;
  /** The workflows of the manifest. Absent while packing, when there is no manifest: then any exports are accepted. */
  readonly workflows?: readonly WorkflowSpec[];
  /** Granted permissions; default none. */
  readonly grants?: {
    /** Names of environment variables. */
    readonly env?: readonly string[];
    /** Network access. Node 24 cannot restrict it; Node 26 closes it unless granted. */
    readonly net?: boolean;
  };
  /** The source of granted variables; default the environment of this process. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Maximum JavaScript heap of each process, MB; default 512. */
  readonly heapMb?: number;
  /** Maximum memory of each process beside that heap (buffers, Node itself), MB; default 512. */
  readonly offHeapMb?: number;
  /** Maximum silence before a process is ended; default 30 s. */
  readonly isolateStallMs?: number;
  /** Maximum time to start a process and load the package; default 60 s. */
  readonly startLimitMs?: number;
  /** Idle time after which a process without calls is stopped; default 60 s. */
  readonly idleMs?: number;
  /** Shared by all isolates whose processes are limited together; default: its own limit. */
  readonly processLimit?: ProcessLimit;
  /** Default: the system clock. */
  readonly clock?: Clock;
  /** Receives the output of the package (stdout as info, stderr as warn) and reports of ended processes. */
  readonly logger: Logger;
  /** Called after each unrequested end of a process, to count crashes. */
  readonly onExit?: (exit: IsolateExit) => void;
}

const defaultHeapMb = 512;
const defaultOffHeapMb = 512;
const defaultStallMs = 30_000;
const defaultStartLimitMs = 60_000;
const defaultIdleMs = 60_000;
/** The key of processes outside any tenant: a package that is being packed. */
const noTenant = '';

/**
 * Runs the code of one package in one process for each tenant: started on first use, stopped when idle, replaced after
 * it died. All calls of one tenant share its process, and with it the variables of the code. Calls marked `alone` get
 * their own process, which ends with them.
 */
export class Isolate {
  readonly #options: IsolateOptions;
  readonly #clock: Clock;
  readonly #processLimit: ProcessLimit;
  readonly #children = new Set<IsolateProcess>();
  readonly #settings: Omit<IsolateProcessOptions, 'onIdle' | 'onEnding' | 'onGone'>;
  /** By tenant. */
  readonly #current = new Map<string, IsolateProcess>();
  readonly #idleTimers = new Map<IsolateProcess, Timer>();
  #closed = false;

  constructor(options: IsolateOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#processLimit = options.processLimit ?? new ProcessLimit();
    this.#settings = {
      dir: options.dir,
      prepare: options.prepare,
      entry: options.entry ?? 'code/index.mjs',
      label: options.label,
      expected: options.workflows,
      env: isolateEnvironment(options.grants?.env ?? [], options.environment ?? process.env),
      net: options.grants?.net ?? false,
      heapMb: options.heapMb ?? defaultHeapMb,
      offHeapMb: options.offHeapMb ?? defaultOffHeapMb,
      stallMs: options.isolateStallMs ?? defaultStallMs,
      startLimitMs: options.startLimitMs ?? defaultStartLimitMs,
      clock: this.#clock,
      logger: options.logger,
    };
  }

  /**
   * Loads the package if necessary and returns its exports; the process is then that of `tenant`. Throws
   * PACKAGE_LOAD_FAILED (with the error of its code as the cause), ISOLATE_EXITED if the isolate was closed meanwhile.
   */
  async describe(tenant: string = noTenant): Promise<readonly WorkflowSpec[]> {
    if (this.#closed) throw new CloacinaError('ISOLATE_EXITED', closedMessage(this.#options.label));
    return await this.#take(tenant).loaded;
  }

  /** Returns the functions of one workflow of the package, called for one tenant. */
  code(workflow: string, tenant: string = noTenant): WorkflowCode {
    const task = async (request: Extract<Request, { readonly call: TaskCall }>): Promise<Outcome> =>
      (await this.#submit(tenant, request, request.call.alone)) as Outcome;
    const parse = async (request: Request): Promise<InputOutcome> =>
      (await this.#submit(tenant, request, false)) as InputOutcome;
    return {
      run: (call, host) => task({ kind: 'run', call, host }),
      ask: (question, call) => task({ kind: 'ask', question, call }),
      parseInput: (input, maxPayload) => parse({ kind: 'parse', workflow, input, maxPayload }),
      parseSignal: (name, input, maxPayload) => parse({ kind: 'signal', workflow, task: name, input, maxPayload }),
      abandon: (call) => this.#abandon(call),
    };
  }

  /** Number of its processes, starting and ending ones included. */
  get processes(): number {
    return this.#children.size;
  }

  /** Ends all processes and waits for their exit. Their running calls are lost and charged to no execution. */
  async close(): Promise<void> {
    this.#closed = true;
    const children = [...this.#children];
    for (const child of children) child.end('closed');
    await Promise.all(children.map((child) => child.gone));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #submit(tenant: string, request: Request, alone: boolean): Promise<Reply> {
    if (this.#closed) {
      const error = toTaskError(new CloacinaError('ISOLATE_EXITED', closedMessage(this.#options.label)));
      return { status: 'lost', alone: false, error };
    }
    const child = alone ? this.#open(tenant) : this.#take(tenant);
    const reply = await child.submit(request);
    if (alone) child.end('unused');
    return reply;
  }

  #abandon(call: TaskCall): void {
    for (const child of this.#children) if (child.holds(call)) child.abandon(call);
  }

  #take(tenant: string): IsolateProcess {
    const child = this.#current.get(tenant) ?? this.#open(tenant);
    this.#current.set(tenant, child);
    this.#busy(child);
    return child;
  }

  #busy(child: IsolateProcess): void {
    this.#processLimit.busy(child);
    this.#idleTimers.get(child)?.cancel();
    this.#idleTimers.delete(child);
  }

  /** Stops a process without calls after the idle time, or at once if another isolate waits for its place. */
  #rest(tenant: string, child: IsolateProcess): void {
    if (child !== this.#current.get(tenant)) return;
    const stop = (): void => child.end('unused');
    this.#idleTimers.get(child)?.cancel();
    this.#idleTimers.set(child, this.#clock.timer(this.#options.idleMs ?? defaultIdleMs, stop));
    this.#processLimit.idle(child, stop);
  }

  #forget(tenant: string, child: IsolateProcess): void {
    this.#busy(child);
    if (child === this.#current.get(tenant)) this.#current.delete(tenant);
  }

  #open(tenant: string): IsolateProcess {
    let placed = false;
    const child: IsolateProcess = new IsolateProcess({
      ...this.#settings,
      onIdle: () => this.#rest(tenant, child),
      onEnding: () => this.#forget(tenant, child),
      onGone: (exit) => {
        this.#children.delete(child);
        if (placed) this.#processLimit.leave();
        else giveUp();
        if (exit !== undefined) this.#exited({ ...exit, tenant });
      },
    });
    this.#children.add(child);
    const giveUp = this.#processLimit.enter(() => {
      placed = true;
      child.start();
    });
    return child;
  }

  #exited(exit: IsolateExit): void {
    const { label, logger, onExit } = this.#options;
    const { reason, code, signal, error } = exit;
    logger.warn({ package: label, reason, code, signal, calls: exit.calls.length }, error.message);
    onExit?.(exit);
  }
}

function closedMessage(label: string): string {
  return `the isolate of ${label} is closed: the package was unloaded`;
}

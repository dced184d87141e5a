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
import type { IsolateDeath } from './exit-reason.ts';
import { ProcessLimit } from './process-limit.ts';
import { isolateEnvironment } from './spawn.ts';

export type { IsolateDeath } from './exit-reason.ts';

export interface IsolateOptions {
  /** The folder of the unpacked package; all that its code can read. */
  readonly dir: string;
  /** The module to load, relative to the folder; default `code/index.mjs`. */
  readonly entry?: string;
  /** Names the package in messages and logs: `simple_demo v1.0.0`. */
  readonly label: string;
  /** The workflows of the manifest. Left out where there is none yet (packing): then any exports will do. */
  readonly workflows?: readonly WorkflowSpec[];
  /** What the package was granted; default nothing. */
  readonly grants?: {
    /** Names of the environment. */
    readonly env?: readonly string[];
    /** Network. Node 24 cannot close it; Node 26 closes it unless granted. */
    readonly net?: boolean;
  };
  /** Where granted names are looked up; default the environment of this process. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Cap of the JavaScript heap of each process, MB; default 512. */
  readonly heapMb?: number;
  /** What each process may hold beside that heap: buffers, and Node itself, MB; default 512. */
  readonly offHeapMb?: number;
  /** A process that does not answer for this long is ended; default 30 s. */
  readonly isolateStallMs?: number;
  /** How long a process may take to start and load the package; default 60 s. */
  readonly startLimitMs?: number;
  /** A process without calls is stopped after this time; default 60 s. */
  readonly idleMs?: number;
  /** Shared by all isolates whose processes are bounded together; default: a room of its own. */
  readonly room?: ProcessLimit;
  /** Default the system's. */
  readonly clock?: Clock;
  /** Takes what the package prints (stdout as info, stderr as warn) and how its processes end. */
  readonly logger: Logger;
  /** A process ended that nobody asked to: for counting crashes. */
  readonly onDeath?: (death: IsolateDeath) => void;
}

const defaultHeapMb = 512;
const defaultOffHeapMb = 512;
const defaultStallMs = 30_000;
const defaultStartLimitMs = 60_000;
const defaultIdleMs = 60_000;
/** Where nobody speaks for a tenant: a package that is packed. */
const noTenant = '';

/**
 * The code of one package in a process for each tenant: started on first use, stopped when idle, replaced when it died.
 * All calls for one tenant share its process, and with it what the code keeps in variables. Calls marked `alone` get a
 * process each, which ends with them.
 */
export class Isolate {
  readonly #options: IsolateOptions;
  readonly #clock: Clock;
  readonly #room: ProcessLimit;
  readonly #children = new Set<IsolateProcess>();
  readonly #settings: Omit<IsolateProcessOptions, 'onIdle' | 'onEnding' | 'onGone'>;
  /** By tenant. */
  readonly #current = new Map<string, IsolateProcess>();
  readonly #idleTimers = new Map<IsolateProcess, Timer>();
  #closed = false;

  constructor(options: IsolateOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#room = options.room ?? new ProcessLimit();
    this.#settings = {
      dir: options.dir,
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
   * Loads the package, if it is not, and says what it exports; the process is then that of `tenant`. Throws PACKAGE_LOAD_FAILED (with what its code threw as
   * the cause), ISOLATE_EXITED where the isolate was closed meanwhile.
   */
  async describe(tenant: string = noTenant): Promise<readonly WorkflowSpec[]> {
    if (this.#closed) throw new CloacinaError('ISOLATE_EXITED', closedMessage(this.#options.label));
    return await this.#take(tenant).loaded;
  }

  /** The functions of one workflow of the package, called for one tenant. */
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

  /** How many processes it has now, starting and ending ones included. */
  get processes(): number {
    return this.#children.size;
  }

  /** Ends its processes and waits until they are gone. Calls in them are lost, and charged to nobody. */
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
    this.#room.busy(child);
    this.#idleTimers.get(child)?.cancel();
    this.#idleTimers.delete(child);
  }

  /** A process without calls is stopped after a while, or at once where another isolate waits for its place. */
  #rest(tenant: string, child: IsolateProcess): void {
    if (child !== this.#current.get(tenant)) return;
    const stop = (): void => child.end('unused');
    this.#idleTimers.get(child)?.cancel();
    this.#idleTimers.set(child, this.#clock.timer(this.#options.idleMs ?? defaultIdleMs, stop));
    this.#room.idle(child, stop);
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
      onGone: (death) => {
        this.#children.delete(child);
        if (placed) this.#room.leave();
        else giveUp();
        if (death !== undefined) this.#died(death);
      },
    });
    this.#children.add(child);
    const giveUp = this.#room.enter(() => {
      placed = true;
      child.start();
    });
    return child;
  }

  #died(death: IsolateDeath): void {
    const { label, logger, onDeath } = this.#options;
    const { reason, code, signal, error } = death;
    logger.warn({ package: label, reason, code, signal, calls: death.calls.length }, error.message);
    onDeath?.(death);
  }
}

function closedMessage(label: string): string {
  return `the isolate of ${label} is closed: the package was unloaded`;
}

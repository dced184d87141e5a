import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { TcpProxy } from '../../src/testing/tcp-proxy.ts';

const preload = fileURLToPath(new URL('elsewhere.ts', import.meta.url));

export const leaseMs = 3000;
const stallMs = 4000;

export interface MemberOptions {
  readonly name: string;
  /** The runner's script. */
  readonly script: string;
  readonly port: number;
  readonly schema: string;
  /** The file of its log. */
  readonly logFile: string;
  /** The host name that it reports; default the real one. */
  readonly host?: string;
  readonly aheadMs?: number;
  /** It has started an execution itself and received the acknowledgement. */
  readonly onStarted: (id: string, workflow: string) => void;
}

/** One of the runners: a process, and the proxy that is its only way to the database. */
export class Member {
  readonly #options: MemberOptions;
  readonly proxy: TcpProxy;
  /** The current fault; none for a healthy runner. */
  trouble: string | null = null;
  /** Errors that no fault explains. */
  readonly faults: string[] = [];
  #child: ChildProcess | undefined;
  #rests = Promise.withResolvers<void>();

  private constructor(options: MemberOptions, proxy: TcpProxy) {
    this.#options = options;
    this.proxy = proxy;
  }

  static async open(options: MemberOptions): Promise<Member> {
    return new Member(options, await TcpProxy.open(() => options.port));
  }

  get name(): string {
    return this.#options.name;
  }

  get host(): string {
    return this.#options.host ?? 'here';
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  /** Starts its process; resolves once it runs executions, or has died. */
  async start(): Promise<void> {
    const { script, port, schema, logFile, host, aheadMs } = this.#options;
    const at = (through: number): string => `postgres://postgres@127.0.0.1:${through}/postgres`;
    const urls = [`${at(this.proxy.port)}?schema=${schema}`, `${at(port)}?options=-csearch_path%3D${schema}`];
    const env = {
      ...process.env,
      ...(host === undefined ? {} : { CHAOS_HOST: host }),
      ...(aheadMs === undefined ? {} : { CHAOS_AHEAD_MS: String(aheadMs) }),
    };
    const child = spawn(process.execPath, ['--import', preload, script, ...urls, `${leaseMs}ms`, `${stallMs}ms`], {
      stdio: ['pipe', 'pipe', openSync(logFile, 'a')],
      env,
    });
    child.stdin!.on('error', () => undefined); // it was killed
    this.#child = child;
    this.#rests = Promise.withResolvers();
    const ready = Promise.withResolvers<void>();
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const [what, ...words] = line.split(' ');
      if (what === 'ready') ready.resolve();
      else if (what === 'rests') this.#rests.resolve();
      else if (what === 'started') this.#options.onStarted(words[0]!, words[1]!);
      else this.faults.push(`${this.name}: ${line}`);
    });
    await Promise.race([ready.promise, once(child, 'exit')]);
  }

  /** The runner itself starts no more executions. */
  async rest(): Promise<void> {
    if (!this.isRunning) return;
    const ended = once(this.#child!, 'exit');
    this.#child!.stdin!.write('rest\n');
    await Promise.race([this.#rests.promise, ended]);
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    if (!this.isRunning) return;
    const ended = once(this.#child!, 'exit');
    this.#child!.kill('SIGKILL');
    await ended;
  }

  /** Asks it to release its executions and to end; returns its exit code. */
  async end(): Promise<number | null> {
    if (!this.isRunning) return this.#child?.exitCode ?? null;
    const ended = once(this.#child!, 'exit');
    this.#child!.stdin!.end();
    const [code] = (await ended) as [number | null];
    return code;
  }

  async close(): Promise<void> {
    await this.kill();
    await this.proxy.close();
  }
}

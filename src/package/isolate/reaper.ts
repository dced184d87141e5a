import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(import.meta.url);
const processFile = join(dirname(here), `reaper-process${extname(here)}`);

/**
 * Sees to it that no process outlives this one that cannot see its end by itself. A guest whose event loop turns ends
 * when its channel closes; one in an endless loop would go on for ever if this process were killed. So those that are
 * silent, and only those, are told to a small process which does nothing but wait for the end of this one. It runs
 * only as long as there are any.
 */
class Reaper {
  readonly #pids = new Set<number>();
  #process: ChildProcess | undefined;

  /** How many processes it watches. */
  get size(): number {
    return this.#pids.size;
  }

  watch(pid: number): void {
    if (this.#pids.has(pid)) return;
    this.#pids.add(pid);
    if (this.#process === undefined) this.#start();
    else this.#tell(`+${pid}`);
  }

  forget(pid: number): void {
    if (!this.#pids.delete(pid)) return;
    this.#tell(`-${pid}`);
    if (this.#pids.size > 0) return;
    this.#process?.stdin?.end();
    this.#process = undefined;
  }

  #start(): void {
    const started = spawn(process.execPath, [processFile], { stdio: ['pipe', 'ignore', 'ignore'], windowsHide: true });
    this.#process = started;
    const gone = (): void => {
      if (this.#process === started) this.#process = undefined;
    };
    // where it cannot be had, nothing is lost but its help; the next silent guest tries again
    started.on('error', gone).on('exit', gone).unref();
    started.stdin.on('error', gone);
    for (const pid of this.#pids) this.#tell(`+${pid}`);
  }

  #tell(line: string): void {
    this.#process?.stdin?.write(`${line}\n`);
  }
}

/** One for the whole process: it is about the end of the process. */
export const reaper: Reaper = new Reaper();

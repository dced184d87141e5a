import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { ownFile } from '../../own-files.ts';
import { deafToDebuggers } from './debug-signal.ts';
import { hasOwnGroup } from './spawn.ts';

const againMs = 1000;

/**
 * Ensures that no isolate outlives this process. A guest whose event loop turns ends when its channel closes; one in an
 * endless loop would run forever if this process were killed. Therefore each guest is registered, from its start to its
 * end, with a small process that only waits for the end of this one. That process runs only while there are guests.
 */
class Reaper {
  readonly #pids = new Set<number>();
  #process: ChildProcess | undefined;
  #hooked = false;

  watch(pid: number): void {
    if (!this.#hooked) process.on('exit', () => this.#endAll());
    this.#hooked = true;
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
    const started = spawn(process.execPath, [...deafToDebuggers(), ownFile('package/isolate/reaper-process')], {
      stdio: ['pipe', 'ignore', 'ignore'],
      windowsHide: true,
      ...hasOwnGroup,
    });
    this.#process = started;
    // without it only its protection is missing; the next start tries again
    const gone = (): void => {
      if (this.#process !== started) return;
      this.#process = undefined;
      setTimeout(() => {
        if (this.#process === undefined && this.#pids.size > 0) this.#start();
      }, againMs).unref();
    };
    started.on('error', gone).on('exit', gone).unref();
    started.stdin.on('error', gone);
    for (const pid of this.#pids) this.#tell(`+${pid}`);
  }

  #tell(line: string): void {
    this.#process?.stdin?.write(`${line}\n`);
  }

  #endAll(): void {
    for (const pid of this.#pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it ended meanwhile
      }
    }
  }
}

/** One per process, since it waits for the end of the process. */
export const reaper: Reaper = new Reaper();

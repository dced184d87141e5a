import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { isError } from '../../core/foreign/realms.ts';
import type { RunnerRecord } from '../../store/store.ts';

/** The identity by which processes of one machine recognise each other. */
export interface HostIdentity {
  /** Boot id and process namespace; the host's name if the system does not tell them. */
  readonly host: string;
  readonly pid: number;
  readonly pidStarted: string | null;
}

export function hostIdentity(): HostIdentity {
  const boot = readOr('/proc/sys/kernel/random/boot_id', hostname());
  return { host: `${boot}/${namespace()}`, pid: process.pid, pidStarted: processStart(process.pid)?.started ?? null };
}

function namespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return process.platform;
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return otherwise;
  }
}

/** State and start time (clock ticks since boot) of a process, from /proc/PID/stat; undefined if there is no such process. */
function processStart(pid: number): { readonly state: string; readonly started: string } | undefined {
  const stat = readOr(`/proc/${pid}/stat`, '');
  // the second field is the command's name in parentheses, and may itself contain any character
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, started] = [fields[0], fields[19]];
  return state === undefined || started === undefined ? undefined : { state, started };
}

/** Whether the process of a runner of this host is gone. If the system tells no start time, a process id in use counts as alive. */
export function isProcessGone(runner: Pick<RunnerRecord, 'pid' | 'pidStarted'>): boolean {
  try {
    process.kill(runner.pid, 0);
  } catch (error) {
    return isError(error) && Reflect.get(error, 'code') === 'ESRCH';
  }
  if (runner.pidStarted === null) return false;
  const now = processStart(runner.pid);
  // kill answers for a zombie too, and the id may belong to another process by now
  return now !== undefined && (now.state === 'Z' || now.started !== runner.pidStarted);
}

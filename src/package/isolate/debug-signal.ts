import { isMainThread } from 'node:worker_threads';
import type { Logger } from '../../engine/logger.ts';

const ignore = (): void => undefined;
const flag = '--disable-sigusr1';

let hasTold = false;

/**
 * Keeps SIGUSR1 from opening Node's inspector in this process: any process of the same user can send that signal and
 * then connect, and the inspector runs any command with all rights of this process. Node ignores the signal if it has a
 * listener. Called before each start of a package's process; listeners of the application are called as before.
 *
 * The listener stays until this process ends: once the last listener of a signal is removed, that signal ends the
 * process instead of opening the inspector. Signals reach the main thread alone, so a thread can only warn, once.
 */
export function ignoreDebugSignal(logger: Logger): void {
  // Windows has no such signal
  if (process.platform === 'win32') return;
  if (!isMainThread) return warnInThread(logger);
  if (!process.listeners('SIGUSR1').includes(ignore)) process.on('SIGUSR1', ignore);
}

function warnInThread(logger: Logger): void {
  const given = [...process.execArgv, ...(process.env['NODE_OPTIONS'] ?? '').split(/\s+/)];
  if (hasTold || given.includes(flag)) return;
  hasTold = true;
  const what = 'this runner is in a worker thread, which cannot ignore SIGUSR1: any process of its user can send it';
  logger.warn({}, `${what} and so open the inspector of Node, which runs any command; start the process with ${flag}`);
}

/** SIGUSR1, which any process of the same user can send, does not open the inspector. Node has this flag since 24.8. */
export function deafToDebuggers(): readonly string[] {
  return process.allowedNodeEnvironmentFlags.has(flag) ? [flag] : [];
}

const ignore = (): void => undefined;

/**
 * Keeps SIGUSR1 from opening Node's inspector in this process: any process of the same user can send that signal and
 * then connect, and the inspector runs what it is told with all that this process may do. Where somebody listens for
 * the signal, Node does nothing of its own. Called before each start of a package's process; listeners of the
 * application are called as before.
 *
 * It stays to the end of this process: after the last listener of a signal is removed, that signal ends the process,
 * instead of opening the inspector as it did at first.
 */
export function ignoreDebugSignal(): void {
  // Windows has no such signal
  if (process.platform === 'win32' || process.listeners('SIGUSR1').includes(ignore)) return;
  process.on('SIGUSR1', ignore);
}

const ignore = (): void => undefined;

/**
 * Keeps SIGUSR1 from opening Node's inspector in this process: any process of the same user can send that signal and
 * then connect, and the inspector runs any command with all rights of this process. Node ignores the signal if it has a
 * listener. Called before each start of a package's process; listeners of the application are called as before.
 *
 * The listener stays until this process ends: once the last listener of a signal is removed, that signal ends the
 * process instead of opening the inspector.
 */
export function ignoreDebugSignal(): void {
  // Windows has no such signal
  if (process.platform === 'win32' || process.listeners('SIGUSR1').includes(ignore)) return;
  process.on('SIGUSR1', ignore);
}

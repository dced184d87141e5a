/**
 * Calls a function of the user whose end nothing waits for. An exception and the rejection of a promise that it returns
 * reach `onError` alone: an unhandled rejection would end the process.
 */
export function unawaited(call: () => unknown, onError: (error: unknown) => void): void {
  try {
    const result = call();
    if (typeof result !== 'object' || result === null) return;
    Promise.resolve(result).catch(onError); // a promise of another realm is one, too
  } catch (error) {
    onError(error);
  }
}

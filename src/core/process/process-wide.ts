/**
 * Returns a value that belongs to the process, created on first use. A module variable does not suffice: a process may
 * have several copies of this library (a bundle beside a package, a dev server that reloads, a test runner with its own
 * module registry). Every copy finds the value by its name, so its shape must not change under that name. Each worker
 * thread has its own value.
 */
export function processWide<T extends object>(name: string, make: () => T): T {
  const key = Symbol.for(`cloacina.${name}`);
  const there: unknown = Reflect.get(globalThis, key);
  if (there !== undefined) return there as T;
  const made = make();
  Object.defineProperty(globalThis, key, { value: made });
  return made;
}

// Jest, vm contexts and other hosts run code in a realm of its own, whose classes differ from those of Node itself: there
// `instanceof Error` is false for every error of Node. `test/layers` refuses `instanceof` with a class of the language.

/** Returns true for an error of any realm; with `name`, only for an error of this name, such as `RangeError`. */
export function isError(value: unknown, name?: string): value is Error {
  if (!Error.isError(value) && !(value instanceof Error)) return false;
  return name === undefined || value.name === name;
}

/** Returns true for a Date of any realm. */
export function isDate(value: unknown): value is Date {
  if (typeof value !== 'object' || value === null) return false;
  return (
    Object.prototype.toString.call(value) === '[object Date]' && typeof Reflect.get(value, 'getTime') === 'function'
  );
}

/** Returns true for a promise of any realm, and for any other object with a method `then`. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  return typeof Reflect.get(value, 'then') === 'function';
}

// A process may have several copies of this library: a bundle beside a package, a dev server that reloads, a monorepo. Each
// copy has its own classes, so `instanceof` needs a mark that all copies read.

type ErrorClass = abstract new (...args: never[]) => Error;

const mark = Symbol.for('cloacina.error');

/**
 * Makes `instanceof` of these classes true for instances of the class with the same name in another copy. A subclass that
 * is not given here compares itself, as usual. The names are the same in every version and every bundle.
 */
export function acrossCopies(classes: Readonly<Record<string, ErrorClass>>): void {
  for (const [name, type] of Object.entries(classes)) {
    Object.defineProperty(type, mark, { value: name });
    Object.defineProperty(type, Symbol.hasInstance, { value: isInstance });
  }
}

/** Returns the name of a class that is known across copies: a bundler may have renamed the class itself. */
export function nameAcrossCopies(type: ErrorClass): string {
  return markOf(type) ?? type.name;
}

function isInstance(this: ErrorClass, value: unknown): boolean {
  if (Function.prototype[Symbol.hasInstance].call(this, value)) return true;
  const name = markOf(this);
  if (name === undefined || typeof value !== 'object' || value === null) return false;
  for (let at: unknown = Object.getPrototypeOf(value); at !== null; at = Object.getPrototypeOf(at)) {
    if (markOf(Object.getOwnPropertyDescriptor(at, 'constructor')?.value) === name) return true;
  }
  return false;
}

/** A subclass inherits the mark, which does not name it. */
function markOf(type: unknown): string | undefined {
  return typeof type === 'function' && Object.hasOwn(type, mark) ? (Reflect.get(type, mark) as string) : undefined;
}

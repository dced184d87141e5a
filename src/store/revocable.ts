import { CloacinaError } from '../core/error.ts';

/** How an object is lent: the methods that are reserved, and the results that use the connection too. */
export interface Terms {
  /** Methods that the borrower must not call. */
  readonly kept?: readonly PropertyKey[];
  /** Methods whose results are lent in turn, and the terms of these. */
  readonly lends?: { readonly [method: PropertyKey]: Terms };
  /** The method that ends such a result, which else keeps something open on the connection; and the calls that end it before. */
  readonly ends?: { readonly by: PropertyKey; readonly after: (method: PropertyKey, result: unknown) => boolean };
}

/** A connection in the hands of a user's function. */
export interface Revocable<T> {
  readonly connection: T;
  /** Closes what the function left open on it. From here on every use of it, and of all that came from it, throws. */
  readonly end: () => void;
}

/**
 * Lends a connection for the length of a transaction: reserved methods throw, and so does every use after the end, when the
 * connection serves another caller.
 */
export function revocable<T extends object>(connection: T, terms: Terms): Revocable<T> {
  const loan = new Loan();
  return { connection: loan.lend(connection, terms), end: () => loan.end() };
}

/** All that one function has borrowed. */
class Loan {
  #ended = false;
  /** The lent form of each object, so that a method which returns its own object does not give it away. */
  readonly #lent = new WeakMap<object, object>();
  readonly #open = new Map<object, PropertyKey>();

  lend<T extends object>(object: T, terms: Terms): T {
    if (terms.ends !== undefined) this.#open.set(object, terms.ends.by);
    const lent = new Proxy(object, {
      get: (target, name) => {
        if (name !== 'then') this.#check();
        if (terms.kept?.includes(name) === true) return () => this.#refuse(name);
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? this.#method(target, name, value, terms) : this.#out(value);
      },
    });
    this.#lent.set(object, lent);
    return lent;
  }

  end(): void {
    this.#ended = true;
    for (const [object, method] of this.#open) Reflect.apply(Reflect.get(object, method) as () => void, object, []);
    this.#open.clear();
  }

  #method(target: object, name: PropertyKey, method: object, terms: Terms): (...args: unknown[]) => unknown {
    return (...args) => {
      this.#check();
      // methods that all iterators have call the others on their object, which must be the lent one
      const self = target instanceof Iterator && name in Iterator.prototype ? this.#out(target) : target;
      const result: unknown = Reflect.apply(method as () => unknown, self, args);
      if (terms.ends?.after(name, result) === true) this.#open.delete(target);
      const lends = terms.lends?.[name];
      return lends !== undefined && isObject(result) ? this.lend(result, lends) : this.#out(result);
    };
  }

  #out(value: unknown): unknown {
    return isObject(value) ? (this.#lent.get(value) ?? value) : value;
  }

  #check(): void {
    if (this.#ended) throw transactionEnded('it was used after its end; keep no reference to it');
  }

  #refuse(name: PropertyKey): never {
    throw transactionEnded(`'${String(name)}' is reserved for the engine: the transaction ends with the function`);
  }
}

export function transactionEnded(why: string, cause?: unknown): CloacinaError {
  return new CloacinaError('TRANSACTION_ENDED', `the transaction: ${why}`, { cause });
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

import { CloacinaError } from '../core/error.ts';

/** A connection in the hands of a user's function. */
export interface Revocable<T> {
  readonly connection: T;
  /** From here on every use of it throws. */
  readonly end: () => void;
}

/**
 * Lends a connection for the length of a transaction: what would close it, or let it go, throws, and so does every use
 * after the end, when the connection serves somebody else.
 */
export function revocable<T extends object>(connection: T, kept: readonly PropertyKey[]): Revocable<T> {
  let ended = false;
  const lent = new Proxy(connection, {
    get: (target, name) => {
      if (ended && name !== 'then') throw transactionEnded('it was used after its end; keep no reference to it');
      if (kept.includes(name)) {
        return () => {
          throw transactionEnded(
            `'${String(name)}' is reserved for the engine: the transaction ends with the function`,
          );
        };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  return { connection: lent, end: () => void (ended = true) };
}

export function transactionEnded(why: string, cause?: unknown): CloacinaError {
  return new CloacinaError('TRANSACTION_ENDED', `the transaction: ${why}`, { cause });
}

import { join } from 'node:path';
import type { Clock } from '../engine/clock.ts';
import { openStore } from '../store/open.ts';
import type { StoreOptions } from '../store/open.ts';
import type { Store } from '../store/store.ts';
import { verbs } from '../store/verbs.ts';
import type { Verb } from '../store/verbs.ts';
import { holdClocks } from './clock.ts';

/** The server on which rigs keep their databases from now on; undefined for SQLite. */
let server: string | undefined;
let schemas = 0;

/** From here on every rig of this process has its own schemas on that PostgreSQL. */
export function rigsOnPostgres(url: string): void {
  server = url;
}

/** The size of a test of quantity: a tenth of it if each item costs several messages to a server. */
export function rigCount(count: number): number {
  return server === undefined ? count : count / 10;
}

/** A database for one rig. `folder` is called if the database is a file, and omitted if one connection is enough. */
export function rigDatabase(folder?: () => string): string {
  if (server !== undefined) return `${server}?schema=rig_${process.pid}_${schemas++}`;
  return folder === undefined ? 'sqlite::memory:' : `sqlite:${join(folder(), 'engine.db')}`;
}

/** The calls of a store that wait for its answer, by whether they change the database. */
const calls: ReadonlyMap<string, Verb<never, unknown>['does']> = new Map([
  ...Object.entries(verbs).map(([name, { does }]) => [name, does] as const),
  ['commit', 'writes'],
  ['transactTask', 'writes'],
  ['write', 'writes'],
  ['read', 'reads'],
  ['ask', 'reads'],
  ['readClock', 'reads'],
]);

/** A SQLite file that answers within the turn, without a flush in the thread pool; other tests have one. */
const answersAtOnce: Pick<StoreOptions, 'flush'> = { flush: async () => undefined };

/**
 * Connections to one database for a test that moves the clock. SQLite answers within the same turn. For PostgreSQL the
 * clock waits until every verb is answered, and a change by one connection is known to the others as soon as it is
 * committed (other tests show the notifications of PostgreSQL in real time).
 */
export async function rigStores(url: string, count: number, clock: Clock): Promise<Store[]> {
  const stores: Store[] = [];
  const news = Array.from({ length: count }, () => true);
  for (let i = 0; i < count; i++) {
    const store = await openStore(url, { now: () => clock.now(), ...answersAtOnce });
    const changed = (): boolean => {
      const isNews = news[i]!;
      news[i] = false;
      return isNews;
    };
    const tellOthers = (): void => news.forEach((_, other) => (news[other] ||= other !== i));
    stores.push(server === undefined ? store : { ...answeredFirst(store, tellOthers), changed, subscribe: undefined });
  }
  return stores;
}

/** The store, each of whose verbs holds the clock until it is answered. */
function answeredFirst(store: Store, wrote: () => void): Store {
  const held = [...calls].flatMap(([name, does]) => {
    const verb: unknown = Reflect.get(store, name);
    if (typeof verb !== 'function') return [];
    const ask = async (...args: unknown[]): Promise<unknown> => {
      const resume = holdClocks();
      try {
        const answer: unknown = await Reflect.apply(verb, store, args);
        if (does === 'writes') wrote();
        return answer;
      } finally {
        resume();
      }
    };
    return [[name, ask] as const];
  });
  return { ...store, ...Object.fromEntries(held) };
}

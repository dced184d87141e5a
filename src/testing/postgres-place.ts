import { setTimeout } from 'node:timers/promises';
import { Client } from 'pg';
import { openStore } from '../store/open.ts';
import type { StoreOptions } from '../store/open.ts';
import type { Store } from '../store/store.ts';
import { release } from './engine-rig.ts';
import type { Cleanup } from './engine-rig.ts';
import { sampleRunner } from './samples.ts';

/** A schema for one test, with a store and another connection that blocks calls of the store. */
export interface PostgresPlace {
  readonly store: Store;
  readonly client: Client;
}

/** Calls that another connection blocks are still waiting after this time; others have been answered long before. */
const momentMs = 300;

let schemas = 0;

/** A new schema on a server, with those runners. */
export async function postgresPlace(
  t: Cleanup,
  url: string,
  runners: readonly string[],
  options: StoreOptions = {},
): Promise<PostgresPlace> {
  const schema = `place_${process.pid}_${schemas++}`;
  const store = await openStore(`${url}?schema=${schema}`, options);
  release(t, () => store.close());
  for (const id of runners) await store.registerRunner(sampleRunner(id));
  const client = new Client({ connectionString: url, options: `-c search_path=${schema}` });
  await client.connect();
  release(t, () => client.end());
  return { store, client };
}

/** True if a promise is still pending after a moment. */
export async function isHeldUp(promise: Promise<unknown>): Promise<boolean> {
  const held = Symbol('held');
  const settled = promise.then(
    () => undefined,
    () => undefined,
  );
  return (await Promise.race([settled, setTimeout(momentMs, held)])) === held;
}

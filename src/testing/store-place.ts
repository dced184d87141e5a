import { afterEach, beforeEach } from 'node:test';
import type { NewExecution, Transition } from '../store/transition.ts';
import type { Claim, ClaimedExecution, Store } from '../store/store.ts';
import { sampleExecution, sampleRunner, sampleTransition } from './samples.ts';

/** A new, empty store for each test of a suite, with two runners. */
export interface StorePlace {
  readonly store: Store;
  readonly commit: (runner: string, ...transitions: readonly Transition[]) => ReturnType<Store['commit']>;
  readonly claim: (change?: Partial<Claim>) => Promise<readonly ClaimedExecution[]>;
  readonly idsOf: (claimed: readonly ClaimedExecution[]) => string[];
  /** An execution that r1 owns, in epoch 1. */
  readonly owned: (change?: Partial<NewExecution>) => Promise<string>;
  readonly created: (...changes: readonly Partial<NewExecution>[]) => Promise<string[]>;
}

/** Must be called within the `describe` of a suite. */
export function storePlace(open: () => Promise<Store>): StorePlace {
  let store: Store;
  let batches = 0;
  beforeEach(async () => {
    store = await open();
    await store.registerRunner(sampleRunner('r1'));
    await store.registerRunner(sampleRunner('r2'));
  });
  afterEach(() => store.close());
  const commit: StorePlace['commit'] = (runner, ...transitions) =>
    store.commit({ runner, lane: 0, n: ++batches, transitions });
  return {
    get store() {
      return store;
    },
    commit,
    claim: (change = {}) =>
      store.claim({
        runner: 'r1',
        now: 1_000_010,
        limit: 100,
        buildIds: ['embedded/w/1'],
        roots: null,
        limits: new Map(),
        ...change,
      }),
    idsOf: (claimed) => claimed.map(({ execution }) => execution.id),
    owned: async (change = {}) => {
      const create = sampleExecution({ ...change, owned: true });
      await commit('r1', sampleTransition(create.id, { create }));
      return create.id;
    },
    created: async (...changes) => {
      const creates = changes.map(sampleExecution);
      await store.createExecutions(creates);
      return creates.map(({ id }) => id);
    },
  };
}

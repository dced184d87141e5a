import * as fc from 'fast-check';

/** The behaviour of one attempt of a task's function. */
export type Try = 'ok' | 'fail' | 'fatal' | 'hang' | 'value';

/** A task of a random graph. Its needs come before it. */
export interface ModelTask {
  readonly kind: 'task' | 'map' | 'sleep' | 'wait' | 'child';
  readonly needs: readonly { readonly task: number; readonly settled: boolean }[];
  /** The result of `when`; null if there is none. */
  readonly when: boolean | 'throws' | null;
  /**
   * The behaviour of its attempts, one after the other; the last repeats for ever. Of a map: of every item but the
   * first, which always succeeds.
   */
  readonly tries: readonly Try[];
  readonly attempts: number;
  /** Virtual ms that an attempt takes. */
  readonly takesMs: number;
  /** Of a map. */
  readonly items: number;
  readonly settledItems: boolean;
}

export interface ModelGraph {
  readonly tasks: readonly ModelTask[];
  /** The returned task; null: none. */
  readonly returns: { readonly task: number; readonly settled: boolean } | null;
}

/** The control verb that is called from outside, at this virtual ms after the start. */
export type Disturbance =
  | { readonly kind: 'none' }
  | { readonly kind: 'crash'; readonly atMs: number }
  | { readonly kind: 'pause'; readonly atMs: number; readonly forMs: number }
  | { readonly kind: 'cancel'; readonly atMs: number };

const tries = fc.array(fc.constantFrom<Try>('ok', 'ok', 'ok', 'value', 'fail', 'fail', 'fatal', 'hang'), {
  minLength: 1,
  maxLength: 4,
});

function task(index: number): fc.Arbitrary<ModelTask> {
  const need = fc.record({ task: fc.nat({ max: Math.max(0, index - 1) }), settled: fc.boolean() });
  return fc.record({
    kind: fc.constantFrom('task', 'task', 'task', 'task', 'map', 'sleep', 'wait', 'child'),
    needs: index === 0 ? fc.constant([]) : fc.array(need, { maxLength: 3 }),
    when: fc.constantFrom<ModelTask['when']>(null, null, null, null, true, false, 'throws'),
    tries,
    attempts: fc.integer({ min: 1, max: 4 }),
    takesMs: fc.constantFrom(0, 0, 0, 5, 40),
    items: fc.nat({ max: 4 }),
    settledItems: fc.boolean(),
  });
}

export const graphs: fc.Arbitrary<ModelGraph> = fc.integer({ min: 1, max: 9 }).chain((size) =>
  fc.record({
    tasks: fc.tuple(...Array.from({ length: size }, (_, index) => task(index))),
    returns: fc.option(fc.record({ task: fc.nat({ max: size - 1 }), settled: fc.boolean() }), { freq: 2 }),
  }),
);

export const disturbances: fc.Arbitrary<Disturbance> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ kind: 'none' as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash' as const), atMs: fc.nat({ max: 200 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('pause' as const),
      atMs: fc.nat({ max: 200 }),
      forMs: fc.nat({ max: 20_000 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), atMs: fc.nat({ max: 300 }) }) },
);

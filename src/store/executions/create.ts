import { commitTexts } from '../commit/commit-texts.ts';
import { lockPinnedVersions } from '../commit/pinned-versions.ts';
import type { Pins } from '../commit/pinned-versions.ts';
import { all, bulk, first } from '../script.ts';
import type { On, Script } from '../script.ts';
import { createdEventRow, events } from '../tables/events.ts';
import { executionTags, tagRows } from '../tables/execution-tags.ts';
import { newExecutionRow, newExecutions } from '../tables/executions.ts';
import type { NewExecution } from '../transition.ts';

/** The result for one execution that was to be created. */
export interface CreatedExecution {
  readonly id: string;
  readonly created: boolean;
  /** The build of the version that it is pinned to, wherever the channel points by now. */
  readonly buildId: string;
  /** Of the execution that has the idempotency key already. */
  readonly inputHash: string | null;
}

/**
 * Creates executions in one transaction, unowned: all, or none if it throws. One whose idempotency key is taken is
 * not created; the result names the execution that has the key. A pin follows its channel. Throws PACKAGE_NOT_FOUND,
 * PACKAGE_UNAVAILABLE.
 */
export function* createExecutions(on: On, creates: readonly NewExecution[]): Script<CreatedExecution[]> {
  const existing = new Map<NewExecution, CreatedExecution>();
  for (const create of creates) {
    // the state of its version does not matter if the execution exists
    const known = create.pin === null ? undefined : yield* withKeyOf(create);
    if (known !== undefined) existing.set(create, known);
  }
  const fresh = creates.filter((create) => !existing.has(create));
  const created = yield* createPinned(on, fresh, yield* lockPinnedVersions(on, fresh));
  return creates.map((create) => existing.get(create) ?? created.get(create)!);
}

/** The same for executions whose versions are locked. Throws PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE. */
export function* createPinned(
  on: On,
  creates: readonly NewExecution[],
  pins: Pins,
): Script<ReadonlyMap<NewExecution, CreatedExecution>> {
  const results = new Map<NewExecution, CreatedExecution>();
  // two transactions with the same keys wait for each other, and never in a circle
  let open = creates.map((create) => ({ create, as: pins.settled(create) })).toSorted(byKey);
  while (open.length > 0) {
    const made = yield* insertWithKeys(
      on,
      open.map(({ as }) => as),
    );
    const again: typeof open = [];
    for (const one of open) {
      const { id, buildId, inputHash } = one.as;
      // another transaction has created one with that key, perhaps just now: only a new statement sees it
      const result = made.has(one.as) ? { id, created: true, buildId, inputHash } : yield* withKeyOf(one.as);
      if (result === undefined) again.push(one);
      else results.set(one.create, result);
    }
    open = again;
  }
  return results;
}

/** Inserts executions with their tags, and without an event. An idempotency key that is taken is an error. */
export function* insertExecutions(
  { dialect }: On,
  creates: readonly NewExecution[],
  ownerOf: (create: NewExecution) => string | null,
): Script<void> {
  if (creates.length === 0) return;
  const texts = commitTexts(dialect);
  yield* bulk(
    newExecutions,
    creates.map((create) => newExecutionRow(create, ownerOf(create))),
    texts.executions,
  );
  yield* bulk(executionTags, creates.flatMap(tagRows), texts.tags);
}

/** Inserts executions with their tags and their first events. Returns those whose idempotency key was not taken. */
function* insertWithKeys({ dialect }: On, creates: readonly NewExecution[]): Script<ReadonlySet<NewExecution>> {
  const texts = commitTexts(dialect);
  const rows = creates.map((create) => newExecutionRow(create, null));
  const { changes } = yield* bulk(newExecutions, rows, texts.executionsWithKeys);
  let made = creates;
  if (changes < creates.length) {
    const text = `select id from executions where ${dialect.among('id', '$1')}`;
    const there = yield* all<{ id: string }>(text, JSON.stringify(creates.map(({ id }) => id)));
    const ids = new Set(there.map(({ id }) => id));
    made = creates.filter(({ id }) => ids.has(id));
  }
  yield* bulk(executionTags, made.flatMap(tagRows), texts.tags);
  yield* bulk(events, made.map(createdEventRow), texts.events);
  return new Set(made);
}

/** The execution that has the idempotency key of a new one. */
export function* withKeyOf({ tenant, workflow, idempotencyKey }: NewExecution): Script<CreatedExecution | undefined> {
  if (idempotencyKey === null) return undefined;
  const row = yield* first<{ id: string; build_id: string; input_hash: string | null }>(
    'select id, build_id, input_hash from executions where tenant = $1 and workflow = $2 and idempotency_key = $3',
    tenant,
    workflow,
    idempotencyKey,
  );
  return row === undefined
    ? undefined
    : { id: row.id, created: false, buildId: row.build_id, inputHash: row.input_hash };
}

type Keyed = { readonly as: Pick<NewExecution, 'idempotencyKey'> };

function byKey({ as: { idempotencyKey: a } }: Keyed, { as: { idempotencyKey: b } }: Keyed): number {
  if (a === b) return 0;
  return (a ?? '') < (b ?? '') ? -1 : 1;
}

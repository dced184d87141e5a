import type { DatabaseSync } from 'node:sqlite';
import type { AnyWorkflow } from '../../core/definition/definition.ts';
import { CloacinaError, InputInvalidError, OptionInvalidError } from '../../core/error.ts';
import { stringifyJson } from '../../core/json.ts';
import type { NewExecution } from '../../store/transition.ts';
import type { Commits, CreatedExecution } from '../../store/store.ts';
import { parseInputNow } from '../inline.ts';
import { newExecution, resolveEmbedded } from './start.ts';
import type { CheckedInput, StartOptions } from './start.ts';

/** What a function returns that runs as a transaction on SQLite: no promise. */
export type Synchronous<T> = T & NoInfer<T extends PromiseLike<unknown> ? 'the function must be synchronous' : unknown>;

export interface TransactionOptions<Handle> {
  readonly store: Commits;
  readonly tenant: string;
  readonly maxPayload: number;
  readonly now: () => number;
  /** The id of a new execution, or of the one that has its idempotency key. Throws IDEMPOTENCY_CONFLICT. */
  readonly idOf: (created: CreatedExecution, create: NewExecution) => string;
  readonly handle: (id: string) => Handle;
  /** What was started is durable, and may be taken here. */
  readonly onStarted: (created: CreatedExecution) => void;
}

/** Runs a user's function as one transaction on the engine's own connection to SQLite. */
export async function transact<T, Handle>(
  options: TransactionOptions<Handle>,
  act: (db: DatabaseSync, start: (workflow: AnyWorkflow, input?: unknown, given?: StartOptions) => Handle) => T,
): Promise<T> {
  const { store, onStarted } = options;
  if (store.transactionSync === undefined) {
    const how = 'on PostgreSQL pass your own transaction: start(workflow, input, { tx: client })';
    throw new CloacinaError('TRANSACTION_UNAVAILABLE', `runner.transaction is for SQLite; ${how}`);
  }
  const started: CreatedExecution[] = [];
  const value = await store.transactionSync(({ db, create: insert }) => {
    const start = (workflow: AnyWorkflow, input?: unknown, given?: StartOptions): Handle => {
      const create = newCreate(options, workflow, input, given ?? {});
      const created = insert(create);
      const id = options.idOf(created, create);
      started.push(created);
      return options.handle(id);
    };
    return act(db, start);
  });
  for (const created of started) onStarted(created);
  return value;
}

function newCreate(
  { tenant, maxPayload, now }: Omit<TransactionOptions<unknown>, 'handle'>,
  workflow: AnyWorkflow,
  input: unknown,
  options: StartOptions,
): NewExecution {
  if (typeof workflow === 'string') {
    const why = `looking up a name needs another query: pass the workflow itself, not '${String(workflow)}'`;
    throw new OptionInvalidError('workflow', why);
  }
  if (options.tx !== undefined) {
    throw new OptionInvalidError('tx', 'this start already uses the transaction of the function');
  }
  const resolved = resolveEmbedded(workflow);
  return newExecution({ resolved, input: checkNow(workflow, input, maxPayload), options, tenant, now: now() });
}

function checkNow(workflow: AnyWorkflow, input: unknown, maxPayload: number): CheckedInput {
  const given = stringifyJson(input === undefined ? {} : input, 'input', maxPayload);
  const outcome = parseInputNow(workflow, given, maxPayload);
  if (outcome?.status === 'valid') return { text: outcome.input, parsed: true, given };
  if (outcome?.status === 'invalid') throw new InputInvalidError(workflow.name, outcome.issues);
  const why = `the schema of workflow '${workflow.name}' checks its input asynchronously: start it before or after the transaction`;
  throw new CloacinaError('TRANSACTION_ASYNC', `a transaction on SQLite is synchronous; ${why}`);
}

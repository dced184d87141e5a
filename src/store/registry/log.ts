import { createHash } from 'node:crypto';
import type { Json } from '../../core/json.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** The acts on a registry. Persisted words. */
export type RegistryAct =
  | 'publish'
  | 'restore'
  | 'activate'
  | 'deactivate'
  | 'rollback'
  | 'yank'
  | 'unyank'
  | 'quarantine'
  | 'unregister'
  | 'collect';

/** One record of the log: the actor, the act and its version, the states before and after it, and the reason. */
export interface NewRegistryEvent {
  readonly at: number;
  readonly tenant: string;
  readonly actor: string;
  readonly act: RegistryAct;
  readonly package: string | null;
  readonly version: string | null;
  readonly channel: string | null;
  readonly before: Json;
  readonly after: Json;
  readonly why: string | null;
}

export interface RegistryEvent extends NewRegistryEvent {
  /** Without gaps from 1, over all tenants of the database. */
  readonly n: number;
  /** Hex sha256 over the hash of the event before and all of this one: a change in between is visible. */
  readonly hash: string;
}

interface EventRow {
  readonly n: number;
  readonly at: number;
  readonly tenant: string;
  readonly actor: string;
  readonly act: RegistryAct;
  readonly package: string | null;
  readonly version: string | null;
  readonly channel: string | null;
  readonly before: string | null;
  readonly after: string | null;
  readonly why: string | null;
  readonly hash: string;
}

/**
 * Appends events to the log, as the last statements of the transaction of their act. The head's row is locked, so that two
 * acts never chain to the same event. Acts of all tenants need that row, so no act waits for another lock while it holds
 * it.
 */
export function* appendRegistryEvents(tx: Tx, events: readonly NewRegistryEvent[]): Script<void> {
  if (events.length === 0) return;
  const head = yield* first<{ n: number; hash: string }>(
    `select n, hash from registry_head where id = 1${tx.dialect.lock('update')}`,
  );
  let { n, hash } = head!;
  for (const event of events) {
    n += 1;
    hash = eventHash(hash, { ...event, n });
    yield* insertEvent({ ...event, n, hash });
  }
  yield* run('update registry_head set n = $1, hash = $2 where id = 1', n, hash);
}

function* insertEvent(event: RegistryEvent): Script<void> {
  yield* run(
    `insert into registry_events (n, at, tenant, actor, act, package, version, channel, before, after, why, hash)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
    event.n,
    event.at,
    event.tenant,
    event.actor,
    event.act,
    event.package,
    event.version,
    event.channel,
    jsonText(event.before),
    jsonText(event.after),
    event.why,
    event.hash,
  );
}

/** The number of the last event. It rises with every act, so runners compare it to see if anything is new. */
export function* registrySerial(): Script<number> {
  return (yield* registryHead()).n;
}

/** Returns the number and hash of the last event from the log's own anchor: a log that lost its end differs from it. */
export function* registryHead(): Script<{ readonly n: number; readonly hash: string }> {
  return (yield* first<{ n: number; hash: string }>('select n, hash from registry_head where id = 1'))!;
}

/** Returns the events after a number, in order; of one tenant, or of all (null). */
export function* registryEvents(tenant: string | null, after: number, limit: number): Script<RegistryEvent[]> {
  const rows =
    tenant === null
      ? yield* all<EventRow>('select * from registry_events where n > $1 order by n limit $2', after, limit)
      : yield* all<EventRow>(
          'select * from registry_events where n > $1 and tenant = $3 order by n limit $2',
          after,
          limit,
          tenant,
        );
  return rows.map(eventRecord);
}

/** The events of the channels of one package, in order. */
export function* channelHistory(tenant: string, name: string, channel: string): Script<RegistryEvent[]> {
  const rows = yield* all<EventRow>(
    'select * from registry_events where tenant = $1 and package = $2 and channel = $3 order by n',
    tenant,
    name,
    channel,
  );
  return rows.map(eventRecord);
}

/** Returns the hash of an event that follows another. */
export function eventHash(previous: string, event: NewRegistryEvent & { readonly n: number }): string {
  const { n, at, tenant, actor, act, version, channel, why } = event;
  const before = jsonText(event.before);
  const after = jsonText(event.after);
  const text = JSON.stringify([
    previous,
    n,
    at,
    tenant,
    actor,
    act,
    event.package,
    version,
    channel,
    before,
    after,
    why,
  ]);
  return createHash('sha256').update(text).digest('hex');
}

function jsonText(value: Json): string | null {
  return value === null ? null : JSON.stringify(value);
}

function eventRecord(row: EventRow): RegistryEvent {
  return { ...row, before: parsed(row.before), after: parsed(row.after) };
}

function parsed(text: string | null): Json {
  if (text === null) return null;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text; // changed by hand: the chain shows it, and the reader must get that far
  }
}

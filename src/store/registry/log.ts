import { createHash } from 'node:crypto';
import type { Json } from '../../core/json.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** The acts on a registry; `report`: a runner found a version healthy, or failed. Persisted words. */
export type RegistryAct =
  | 'publish'
  | 'activate'
  | 'rollback'
  | 'yank'
  | 'unyank'
  | 'quarantine'
  | 'report'
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

/** An event with its states as JSON text, which its hash covers. */
export interface StoredEvent {
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
  for (const { before, after, ...event } of events) {
    n += 1;
    const texts = { ...event, n, before: jsonText(before), after: jsonText(after) };
    hash = eventHash(hash, texts);
    yield* insertEvent({ ...texts, hash });
  }
  yield* run('update registry_head set n = $1, hash = $2 where id = 1', n, hash);
}

function* insertEvent(event: StoredEvent): Script<void> {
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
    event.before,
    event.after,
    event.why,
    event.hash,
  );
}

/** The number of the last event. It rises with every act, so runners compare it to see if anything is new. */
export function* registrySerial(): Script<number> {
  return (yield* registryHead()).n;
}

/** The number and hash of an event; the hash covers every event before it, too. */
export interface LogHead {
  /** 0 if there is no event. */
  readonly n: number;
  readonly hash: string;
}

/** Returns the last event from the log's own anchor: a log that lost its end differs from it. */
export function* registryHead(): Script<LogHead> {
  return (yield* first<LogHead>('select n, hash from registry_head where id = 1'))!;
}

/** Returns the events of a tenant after a number, in order. */
export function* registryEvents(tenant: string, after: number, limit: number): Script<RegistryEvent[]> {
  const text = 'select * from registry_events where n > $1 and tenant = $3 order by n limit $2';
  return (yield* all<StoredEvent>(text, after, limit, tenant)).map(eventRecord);
}

/** The events of all tenants after a number, as they are stored. */
export function* storedEvents(after: number, limit: number): Script<readonly StoredEvent[]> {
  return yield* all<StoredEvent>('select * from registry_events where n > $1 order by n limit $2', after, limit);
}

/** The events of the channels of one package, in order. */
export function* channelHistory(tenant: string, name: string, channel: string): Script<RegistryEvent[]> {
  const rows = yield* all<StoredEvent>(
    'select * from registry_events where tenant = $1 and package = $2 and channel = $3 order by n',
    tenant,
    name,
    channel,
  );
  return rows.map(eventRecord);
}

/** Returns the hash of an event that follows another. */
export function eventHash(previous: string, event: Omit<StoredEvent, 'hash'>): string {
  const { n, at, tenant, actor, act, version, channel, before, after, why } = event;
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

function eventRecord(row: StoredEvent): RegistryEvent {
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

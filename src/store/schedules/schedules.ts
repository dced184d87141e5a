import { clockToleranceMs } from '../../core/clock-ahead.ts';
import { CloacinaError } from '../../core/error.ts';
import { storedJson } from '../../core/json.ts';
import type { ScheduleRule } from '../../core/definition/spec.ts';
import { all, first, run } from '../script.ts';
import type { Script, SqlValue, Tx } from '../script.ts';

/** A stored schedule. Times are epoch ms; `input` and `overrides` are JSON text. */
export interface ScheduleRecord {
  readonly id: string;
  readonly tenant: string;
  /** `operator`, `embedded`, or `package:<name>`. */
  readonly owner: string;
  readonly name: string;
  /** The name that its owner uses; see `workflowRef`. */
  readonly workflow: string;
  readonly input: string;
  /** The rule as written: for `every` without `startAt`, `anchor` is the start of the count. */
  readonly rule: ScheduleRule;
  readonly anchor: number;
  /** The changes of an operator to a schedule of another owner; they survive the owner's next version. */
  readonly overrides: string | null;
  /** False if its owner has removed it. */
  readonly enabled: boolean;
  readonly pausedAt: number | null;
  /** The last slot that was handled, or the time at which the schedule began. */
  readonly cursor: number;
  /** The time at which its next slot and that slot's jitter are over; null if nothing will fire. */
  readonly nextAt: number | null;
  /** The slot that waits for the running execution to end (`buffer_one`). */
  readonly bufferedSlot: number | null;
  /** The last slot that started an execution. */
  readonly lastSlot: number | null;
  /** The cursor before the clock was set back; null where that is over. See `DueQuestion`. */
  readonly movedFrom: number | null;
  /** The late slots that the catch-up under way may still start; null where none is. */
  readonly catchUpLeft: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** The error of a row that cannot be read; the rule then never fires, the input is null, and there are no overrides. */
  readonly damaged?: CloacinaError;
}

interface ScheduleRow {
  readonly id: string;
  readonly tenant: string;
  readonly owner: string;
  readonly name: string;
  readonly workflow: string;
  readonly input: string;
  readonly rule: string;
  readonly anchor: number;
  readonly overrides: string | null;
  readonly enabled: number;
  readonly paused_at: number | null;
  readonly cursor: number;
  readonly next_at: number | null;
  readonly buffered_slot: number | null;
  readonly last_slot: number | null;
  readonly moved_from: number | null;
  readonly catch_up_left: number | null;
  readonly created_at: number;
  readonly updated_at: number;
}

const columns = `id, tenant, owner, name, workflow, input, rule, anchor, overrides, enabled, paused_at, cursor, next_at,
  buffered_slot, last_slot, moved_from, catch_up_left, created_at, updated_at`;

/** A damaged row is a record all the same: it keeps no other schedule from firing, and can be removed. */
function scheduleRecord(row: ScheduleRow): ScheduleRecord {
  const { id, tenant, owner, name, workflow, anchor, cursor } = row;
  const { rule, input, overrides, damaged } = readable(row);
  return {
    ...(damaged === null ? {} : { damaged }),
    id,
    tenant,
    owner,
    name,
    workflow,
    input,
    rule,
    anchor,
    overrides,
    enabled: row.enabled !== 0,
    pausedAt: row.paused_at,
    cursor,
    nextAt: row.next_at,
    bufferedSlot: row.buffered_slot,
    lastSlot: row.last_slot,
    movedFrom: row.moved_from,
    catchUpLeft: row.catch_up_left,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

type Readable = Pick<ScheduleRecord, 'rule' | 'input' | 'overrides'> & { readonly damaged: CloacinaError | null };

function readable({ name, owner, rule, input, overrides }: ScheduleRow): Readable {
  const what = `schedule '${name}' of ${owner}`;
  try {
    storedJson(input, `the input of ${what}`);
    if (overrides !== null) storedJson(overrides, `what an operator changed of ${what}`);
    return { rule: storedRule(rule, what), input, overrides, damaged: null };
  } catch (error) {
    if (!(error instanceof CloacinaError)) throw error;
    return { rule: neverRule, input: 'null', overrides: null, damaged: error };
  }
}

/** The rule in a row; null if it is damaged. */
export function storedRuleOrNull(text: string): ScheduleRule | null {
  try {
    return storedRule(text, 'a schedule');
  } catch {
    return null;
  }
}

/** Returns the rule of a row. Throws ROW_DAMAGED. */
function storedRule(text: string, what: string): ScheduleRule {
  const rule = storedJson(text, `the rule of ${what}`);
  if (typeof rule === 'object' && rule !== null) {
    const isRule = Object.entries(ruleKinds).every(([field, kinds]) => {
      const value: unknown = Reflect.get(rule, field);
      return kinds.includes(value === null ? 'null' : typeof value);
    });
    if (isRule) return rule as ScheduleRule;
  }
  throw new CloacinaError('ROW_DAMAGED', `the rule of ${what} is damaged in the database: it is not a rule`);
}

const ruleKinds: { readonly [Field in keyof ScheduleRule]: readonly string[] } = {
  cron: ['string', 'null'],
  every: ['number', 'null'],
  at: ['number', 'null'],
  timezone: ['string'],
  startAt: ['number', 'null'],
  endAt: ['number', 'null'],
  jitter: ['number'],
  overlap: ['string'],
  catchup: ['string'],
  max: ['number'],
  window: ['number'],
};

const neverRule: ScheduleRule = {
  cron: null,
  every: null,
  at: 0,
  timezone: 'UTC',
  startAt: null,
  endAt: null,
  jitter: 0,
  overlap: 'skip',
  catchup: 'skip',
  max: 1,
  window: 0,
};

/** The part of a new schedule that firing changes, beside the cursor. */
export const neverFired = {
  nextAt: null,
  bufferedSlot: null,
  lastSlot: null,
  movedFrom: null,
  catchUpLeft: null,
} as const;

/** Returns false if its owner has a schedule of that name already. */
export function* insertSchedule(record: ScheduleRecord): Script<boolean> {
  const changes = yield* run(
    `insert into schedules (${columns})
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
     on conflict (tenant, owner, name) do nothing`,
    record.id,
    record.tenant,
    record.owner,
    record.name,
    record.workflow,
    record.input,
    JSON.stringify(record.rule),
    record.anchor,
    record.overrides,
    Number(record.enabled),
    record.pausedAt,
    record.cursor,
    record.nextAt,
    record.bufferedSlot,
    record.lastSlot,
    record.movedFrom,
    record.catchUpLeft,
    record.createdAt,
    record.updatedAt,
  );
  return changes > 0;
}

/** Writes all columns of a schedule that can change; its row is locked. */
export function* writeSchedule(record: ScheduleRecord): Script<void> {
  yield* run(
    `update schedules set workflow = $2, input = $3, rule = $4, anchor = $5, overrides = $6, enabled = $7, paused_at = $8,
     cursor = $9, next_at = $10, buffered_slot = $11, last_slot = $12, moved_from = $13,
     catch_up_left = $14, updated_at = $15 where id = $1`,
    record.id,
    record.workflow,
    record.input,
    JSON.stringify(record.rule),
    record.anchor,
    record.overrides,
    Number(record.enabled),
    record.pausedAt,
    record.cursor,
    record.nextAt,
    record.bufferedSlot,
    record.lastSlot,
    record.movedFrom,
    record.catchUpLeft,
    record.updatedAt,
  );
}

/** Writes the columns that firing changes; its row is locked. */
export function* moveSchedule(record: ScheduleRecord): Script<void> {
  yield* run(
    `update schedules set cursor = $2, next_at = $3, buffered_slot = $4, last_slot = $5, moved_from = $6,
     catch_up_left = $7 where id = $1`,
    record.id,
    record.cursor,
    record.nextAt,
    record.bufferedSlot,
    record.lastSlot,
    record.movedFrom,
    record.catchUpLeft,
  );
}

/** Postpones a schedule that cannot be judged here, unless another runner has moved it meanwhile; no slot of it is lost. */
export function* postponeSchedule({ id, nextAt }: ScheduleRecord, until: number): Script<void> {
  yield* run('update schedules set next_at = $3 where id = $1 and next_at = $2', id, nextAt, until);
}

/** The same for one that was moved while the clock was ahead, and cannot be judged here: it counts from now. */
export function* postponeAhead(tx: Tx, id: string, until: number): Script<void> {
  yield* run(
    'update schedules set next_at = $2, cursor = $3 where id = $1 and cursor > $4',
    id,
    until,
    tx.now,
    tx.now + clockToleranceMs,
  );
}

export function* deleteSchedule(id: string): Script<void> {
  yield* run('delete from schedules where id = $1', id);
}

/** Returns all schedules of a tenant, by name and owner. */
export function* schedulesOf(tenant: string): Script<ScheduleRecord[]> {
  const text = `select ${columns} from schedules where tenant = $1 order by name, owner`;
  return (yield* all<ScheduleRow>(text, tenant)).map(scheduleRecord);
}

/** The schedules of this name, of all owners. */
export function* schedulesNamed(tenant: string, name: string): Script<ScheduleRecord[]> {
  const text = `select ${columns} from schedules where tenant = $1 and name = $2 order by owner`;
  return (yield* all<ScheduleRow>(text, tenant, name)).map(scheduleRecord);
}

/** The schedules of one owner, locked. */
export function* lockOwned(tx: Tx, tenant: string, owner: string): Script<ScheduleRecord[]> {
  const text = `select ${columns} from schedules where tenant = $1 and owner = $2 order by id${tx.dialect.lock('update')}`;
  return (yield* all<ScheduleRow>(text, tenant, owner)).map(scheduleRecord);
}

export function* lockSchedule(tx: Tx, id: string): Script<ScheduleRecord | undefined> {
  const row = yield* first<ScheduleRow>(
    `select ${columns} from schedules where id = $1${tx.dialect.lock('update')}`,
    id,
  );
  return row === undefined ? undefined : scheduleRecord(row);
}

/** Locks a schedule that is due; undefined if another runner holds it or has fired it. */
export function* lockDue(tx: Tx, id: string): Script<ScheduleRecord | undefined> {
  const row = yield* first<ScheduleRow>(
    `select ${columns} from schedules where id = $1 and (next_at <= $2 or buffered_slot is not null)${tx.dialect.lock('skip_locked')}`,
    id,
    tx.now,
  );
  return row === undefined ? undefined : scheduleRecord(row);
}

/** The schedules of these tenants (null: all) that are due, the earliest first. */
export function* dueSchedules(tx: Tx, tenants: readonly string[] | null, limit: number): Script<ScheduleRecord[]> {
  const { ours, params } = tenantsAre(tx, tenants, '$3');
  const text = `select ${columns} from schedules where next_at <= $1${ours} order by next_at limit $2`;
  return (yield* all<ScheduleRow>(text, tx.now, limit, ...params)).map(scheduleRecord);
}

/** The schedules of these tenants (null: all) that could fire, but were moved while the clock was ahead. */
export function* aheadSchedules(tx: Tx, tenants: readonly string[] | null, limit: number): Script<ScheduleRecord[]> {
  const { ours, params } = tenantsAre(tx, tenants, '$3');
  const text = `select ${columns} from schedules where enabled = 1 and paused_at is null and cursor > $1${ours}
    order by cursor limit $2`;
  return (yield* all<ScheduleRow>(text, tx.now + clockToleranceMs, limit, ...params)).map(scheduleRecord);
}

/** Schedules with a buffered slot whose executions have all ended. */
export function* freedSchedules(tx: Tx, tenants: readonly string[] | null, limit: number): Script<ScheduleRecord[]> {
  const { ours, params } = tenantsAre(tx, tenants, '$2');
  const text = `select ${columns} from schedules where buffered_slot is not null${ours}
    and not exists (select 1 from executions where schedule_id = schedules.id and ended_at is null) limit $1`;
  return (yield* all<ScheduleRow>(text, limit, ...params)).map(scheduleRecord);
}

export interface NextDue {
  /** The time at which the next schedule is due. */
  readonly at: number | null;
  /** A slot is buffered. */
  readonly buffered: boolean;
}

export function* nextDue(tx: Tx, tenants: readonly string[] | null): Script<NextDue> {
  const { ours, params } = tenantsAre(tx, tenants, '$1');
  const next = yield* first<{ at: number }>(
    `select next_at as at from schedules where next_at is not null${ours} order by next_at limit 1`,
    ...params,
  );
  const buffered = yield* first(`select id from schedules where buffered_slot is not null${ours} limit 1`, ...params);
  return { at: next?.at ?? null, buffered: buffered !== undefined };
}

function tenantsAre(
  { dialect }: Tx,
  tenants: readonly string[] | null,
  parameter: string,
): { readonly ours: string; readonly params: readonly SqlValue[] } {
  if (tenants === null) return { ours: '', params: [] };
  return { ours: ` and ${dialect.among('tenant', parameter)}`, params: [JSON.stringify(tenants)] };
}

/** Returns the open executions of a schedule. */
export function* openExecutions(scheduleId: string): Script<string[]> {
  const rows = yield* all<{ id: string }>(
    'select id from executions where schedule_id = $1 and ended_at is null order by id',
    scheduleId,
  );
  return rows.map((row) => row.id);
}

import { isDeepStrictEqual } from 'node:util';
import type { ScheduleOptions } from '../core/definition/definition.ts';
import { describeRule } from '../core/schedule/describe-rule.ts';
import { durationMs } from '../core/duration.ts';
import type { Duration } from '../core/duration.ts';
import { OptionInvalidError, ScheduleExistsError, ScheduleInvalidError, ScheduleNotFoundError } from '../core/error.ts';
import type { CloacinaError } from '../core/error.ts';
import { parseJson, stringifyJson, undamaged } from '../core/json.ts';
import { shown } from '../core/option-check.ts';
import { scheduleRule } from '../core/schedule/rule.ts';
import { nextSlot, slotsBetween } from '../core/schedule/fire-times.ts';
import type { ScheduleRule } from '../core/definition/spec.ts';
import type { Clock } from '../engine/clock.ts';
import { newId } from '../engine/id.ts';
import { checkInput } from '../engine/client/start.ts';
import type { ResolvedWorkflow } from '../engine/client/start.ts';
import { deleteSlots, slotHistory } from '../store/schedules/slots.ts';
import {
  deleteSchedule,
  insertSchedule,
  lockSchedule,
  schedulesNamed,
  schedulesOf,
} from '../store/schedules/schedules.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import type { Scripts } from '../store/store.ts';
import { changeSchedule, isSameTiming, passedBy } from './change.ts';
import type { ScheduleChange } from './change.ts';
import { nextOf, scheduleDetail, scheduleSummary, slotSummary, unrecordedSummary } from './views.ts';
import type { ScheduleDetail, ScheduleSummary, SlotSummary } from './views.ts';
import { fireSchedule, ruleOf, wakeAfter } from './fire.ts';
import { overridesOf } from './declared.ts';
import { findSchedule, operatorOwner, workflowRef } from './owner.ts';
import { changedRule, checkFields, checkName, overriddenFields } from './request.ts';
import type { ScheduleChanges, ScheduleRequest } from './request.ts';
import { Starts, holdStarts } from './start.ts';
import type { HeldStart, Start } from './start.ts';
import { scheduleStats } from './statistics.ts';
import type { ScheduleStats } from './statistics.ts';

export interface SchedulesOptions {
  readonly store: Scripts;
  readonly tenant: string;
  readonly clock: Clock;
  readonly maxPayload: number;
  /** Resolves a workflow's name. Throws WORKFLOW_NOT_FOUND, AMBIGUOUS_WORKFLOW. */
  readonly resolve: (workflow: string) => Promise<ResolvedWorkflow>;
  /** Called for a schedule that is left out of the list since its row is damaged. */
  readonly onDamaged?: (error: CloacinaError) => void;
  /** Called after a change is durable, so that runners of this process see it at once. */
  readonly onChange: () => void;
}

export interface AddedSchedule {
  readonly id: string;
  readonly name: string;
  /** The next slot, epoch ms; null where it is paused. */
  readonly next: number | null;
  /** False where it existed already, the same in every field. */
  readonly created: boolean;
}

export interface Preview {
  /** Epoch ms. */
  readonly slots: readonly number[];
  /** The rule in words. */
  readonly sentence: string;
}

export interface HistoryOptions {
  /** 1 to 1000; default 50. */
  readonly limit?: number;
  /** Only slots before this one (epoch ms): `slot` of the last row of the page before. */
  readonly before?: number;
}

export interface StatsOptions {
  /** A time, or a length of time until now; default 1h. */
  readonly since?: Date | Duration;
  /** Of one schedule; default of all. */
  readonly schedule?: string;
}

const hourMs = 3_600_000;
/** Slots deleted by one transaction, so that the writer is not held long. */
const deleteLimit = 5000;

/** The verbs of schedules, for a process that loads them at the first call of one. */
export type SchedulesVerbs = Pick<Schedules, keyof Schedules>;

/**
 * The schedules of one tenant. A schedule is named by its name, or by `owner/name` where several owners have one of
 * that name. Verbs on one throw SCHEDULE_NOT_FOUND, AMBIGUOUS_SCHEDULE, ROW_DAMAGED; all throw STORE_UNAVAILABLE where
 * the database is away.
 */
export class Schedules {
  readonly #options: SchedulesOptions;
  readonly #store: Scripts;
  readonly #tenant: string;

  constructor(options: SchedulesOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#tenant = options.tenant;
  }

  /**
   * Adds a schedule. One that exists and is the same in every field is left alone (`created` false); a pause is no
   * difference where `paused` is not given. Throws
   * SCHEDULE_INVALID, SCHEDULE_EXISTS, WORKFLOW_NOT_FOUND, AMBIGUOUS_WORKFLOW, INPUT_INVALID, NOT_SERIALIZABLE,
   * PAYLOAD_TOO_LARGE.
   */
  async add(name: string, request: ScheduleRequest): Promise<AddedSchedule> {
    checkName(name);
    checkFields(request);
    const { workflow, paused } = request;
    const rule = scheduleRule(request, null);
    const input = await this.#checkedInput(workflow, request.input);
    const now = this.#options.clock.now();
    const record = this.#newRecord(name, { workflow, input, rule, paused: paused ?? false }, now);
    const tenant = this.#tenant;
    const { found, created } = await this.#write(function* () {
      const existing = (yield* schedulesNamed(tenant, name)).find((each) => each.owner === operatorOwner);
      if (existing !== undefined) return { found: sameAs(existing, record, paused), created: false };
      checkFires(record, now);
      const isNew = yield* insertSchedule(record);
      if (!isNew) throw new ScheduleExistsError(name); // somebody else adds it at this moment
      return { found: record, created: true };
    });
    return { id: found.id, name, next: nextOf(found, now), created };
  }

  /**
   * Changes a schedule from now on: what is left out stays, null takes the default again (of the input it is the value
   * null). Changes of a schedule that a
   * package or an embedded workflow brings survive its next version. Throws SCHEDULE_INVALID, WORKFLOW_NOT_FOUND,
   * AMBIGUOUS_WORKFLOW, INPUT_INVALID, NOT_SERIALIZABLE, PAYLOAD_TOO_LARGE.
   */
  async update(name: string, changes: ScheduleChanges): Promise<ScheduleDetail> {
    checkFields(changes);
    const found = await this.#find(name);
    const { owner } = found;
    const { workflow = found.workflow } = changes;
    if (owner !== operatorOwner && workflow !== found.workflow) {
      throw new ScheduleInvalidError('workflow', `schedule '${name}' belongs to ${owner}, with its workflow`);
    }
    if (changes.paused !== undefined && changes.paused !== null && typeof changes.paused !== 'boolean') {
      throw new ScheduleInvalidError('paused', 'it must be true or false');
    }
    const isChecked = changes.input !== undefined || changes.workflow !== undefined;
    const given = changes.input === undefined ? parseJson(found.input) : changes.input;
    const input = isChecked ? await this.#checkedInput(workflowRef({ owner, workflow }), given) : found.input;
    const start = await this.#starts().of(found);
    return this.#act(
      found,
      function* (tx, record, held) {
        const rule = changedRule(record.rule, changes);
        const change = changeOf(record, changes, { workflow, input, rule });
        return yield* changeAfterFiring(tx, record, change, held!);
      },
      start,
    );
  }

  /** All schedules of this tenant, by name; without those whose row is damaged, which a warning names. */
  async list(): Promise<readonly ScheduleSummary[]> {
    const records = await this.#store.read(() => schedulesOf(this.#tenant));
    const now = this.#options.clock.now();
    return records.flatMap((record) => {
      if (record.damaged === undefined) return [scheduleSummary(record, now)];
      this.#options.onDamaged?.(record.damaged);
      return [];
    });
  }

  async get(name: string): Promise<ScheduleDetail> {
    return scheduleDetail(await this.#find(name), this.#options.clock.now());
  }

  /** Pauses a schedule until `resume`; running executions go on. */
  async pause(name: string): Promise<ScheduleDetail> {
    return this.#setPaused(name, true);
  }

  /** Resumes with the next slot: no slot of the pause is fired. */
  async resume(name: string): Promise<ScheduleDetail> {
    return this.#setPaused(name, false);
  }

  /**
   * Removes a schedule and its history; its executions stay. One that a package or an embedded workflow brings is
   * written anew when that is activated or opened again: pause it instead. One whose row is damaged is removed, too.
   */
  async remove(name: string): Promise<ScheduleDetail> {
    const found = await this.#findAny(name);
    const removed = await this.#act(found, function* (_tx, { damaged: _damaged, ...record }) {
      yield* deleteSchedule(record.id);
      return { ...record, enabled: false };
    });
    for (;;) {
      const deleted = await this.#store.write(() => deleteSlots(found.id, deleteLimit));
      if (deleted < deleteLimit) return removed;
    }
  }

  /**
   * The next `n` slots (1 to 1000) after a time, now by default, of a schedule or of a rule that is not added yet.
   * Throws SCHEDULE_INVALID, OPTION_INVALID.
   */
  async preview(what: string | ScheduleOptions<unknown>, n: number = 10, from?: Date): Promise<Preview> {
    checkCount('n', n);
    const now = this.#options.clock.now();
    if (from !== undefined && !(from instanceof Date))
      throw new OptionInvalidError('from', `${shown(from)} is not a Date`);
    const after = from?.getTime() ?? now;
    if (Number.isNaN(after)) throw new OptionInvalidError('from', 'it is an invalid Date');
    const rule = typeof what === 'string' ? ruleOf(await this.#find(what)) : previewedRule(what, now);
    return { slots: [...slotsBetween(rule, after + 1, Infinity).take(n)], sentence: describeRule(rule) };
  }

  /** The outcomes of the slots of a schedule, the latest first. Throws OPTION_INVALID. */
  async history(name: string, options: HistoryOptions = {}): Promise<readonly SlotSummary[]> {
    const { limit = 50, before = null } = options;
    checkCount('limit', limit);
    const record = await this.#find(name);
    const slots = await this.#store.read(() => slotHistory(record.id, limit, before));
    const recorded = undamaged(slots, slotSummary, this.#options.onDamaged);
    const unrecorded = record.pausedAt === null ? [] : passedBy(record, this.#options.clock.now());
    const open = unrecorded.filter(({ first }) => before === null || first < before).map(unrecordedSummary);
    return [...open.toReversed(), ...recorded].slice(0, limit);
  }

  /** Counts the outcomes of slots since a time, of one schedule or of all. Throws OPTION_INVALID. */
  async stats(options: StatsOptions = {}): Promise<ScheduleStats> {
    const now = this.#options.clock.now();
    const { since = hourMs } = options;
    const from = since instanceof Date ? since.getTime() : now - durationMs(since, 'since');
    if (Number.isNaN(from)) throw new OptionInvalidError('since', 'it is an invalid Date');
    const [tenant, name] = [this.#tenant, options.schedule];
    return this.#store.read(function* () {
      const schedules = name === undefined ? yield* schedulesOf(tenant) : [yield* findSchedule(tenant, name)];
      const only = name === undefined ? null : schedules[0]!.id;
      return yield* scheduleStats(tenant, schedules, only, from, now);
    });
  }

  async #setPaused(name: string, paused: boolean): Promise<ScheduleDetail> {
    return this.#act(await this.#find(name), function* (tx, record) {
      const isOwned = record.owner !== operatorOwner;
      const overrides = isOwned ? JSON.stringify({ ...overridesOf(record), paused }) : record.overrides;
      if ((record.pausedAt !== null) === paused && overrides === record.overrides) return record;
      return yield* changeSchedule(tx, record, { paused, overrides });
    });
  }

  /** Throws ROW_DAMAGED. */
  async #find(name: string): Promise<ScheduleRecord> {
    const found = await this.#findAny(name);
    if (found.damaged !== undefined) throw found.damaged;
    return found;
  }

  async #findAny(name: string): Promise<ScheduleRecord> {
    if (typeof name !== 'string') throw new OptionInvalidError('name', `${shown(name)} is not a schedule name`);
    return this.#store.read(() => findSchedule(this.#tenant, name));
  }

  /** Runs an act as one transaction on the locked row of a schedule; `start`: the start that the act may use. */
  async #act(
    found: ScheduleRecord,
    act: (tx: Tx, record: ScheduleRecord, start?: HeldStart) => Script<ScheduleRecord>,
    start?: Start,
  ): Promise<ScheduleDetail> {
    const { id, name } = found;
    const now = this.#options.clock.now();
    const record = await this.#write(function* (tx) {
      const [held] = start === undefined ? [] : yield* holdStarts(tx, [{ record: found, start }]);
      const locked = yield* lockSchedule(tx, id);
      if (locked === undefined) throw new ScheduleNotFoundError(name); // it was removed meanwhile
      return yield* act(tx, locked, held);
    });
    return scheduleDetail(record, now);
  }

  async #write<T>(script: (tx: Tx) => Script<T>): Promise<T> {
    const result = await this.#store.write(script);
    this.#options.onChange();
    return result;
  }

  /** The input as JSON text, as it was given: it is parsed anew for every slot. */
  async #checkedInput(workflow: string, input: unknown): Promise<string> {
    if (typeof workflow !== 'string' || workflow === '') {
      throw new ScheduleInvalidError('workflow', 'a schedule needs the name of a workflow');
    }
    const { resolve, maxPayload } = this.#options;
    const text = stringifyJson(input === undefined ? {} : input, 'input', maxPayload);
    await checkInput(await resolve(workflow), parseJson(text), maxPayload);
    return text;
  }

  #starts(): Starts {
    return new Starts((_tenant, workflow) => this.#options.resolve(workflow), this.#options.maxPayload);
  }

  #newRecord(
    name: string,
    { paused, ...given }: Pick<ScheduleRecord, 'workflow' | 'input' | 'rule'> & { readonly paused: boolean },
    now: number,
  ): ScheduleRecord {
    const record: ScheduleRecord = {
      id: newId(now),
      tenant: this.#tenant,
      owner: operatorOwner,
      name,
      ...given,
      anchor: now,
      overrides: null,
      enabled: true,
      pausedAt: paused ? now : null,
      cursor: now,
      nextAt: null,
      bufferedSlot: null,
      lastSlot: null,
      createdAt: now,
      updatedAt: now,
    };
    return { ...record, nextAt: wakeAfter(record) };
  }
}

/** The schedule that exists, if it is the one to be added. Throws SCHEDULE_EXISTS. */
function sameAs(existing: ScheduleRecord, wanted: ScheduleRecord, paused: boolean | undefined): ScheduleRecord {
  const isSame =
    existing.workflow === wanted.workflow &&
    (paused === undefined || paused === (existing.pausedAt !== null)) &&
    isDeepStrictEqual(existing.rule, wanted.rule) &&
    isDeepStrictEqual(parseJson(existing.input), parseJson(wanted.input));
  if (!isSame) throw new ScheduleExistsError(existing.name);
  return existing;
}

/** Throws SCHEDULE_INVALID where a schedule has no slot left. */
function checkFires(record: Pick<ScheduleRecord, 'rule' | 'anchor'>, now: number): void {
  if (nextSlot(ruleOf(record), now) !== null) return;
  throw new ScheduleInvalidError(
    record.rule.at === null ? 'endAt' : 'at',
    'it is in the past, so the schedule would never fire',
  );
}

type RuledChange = ScheduleChange & { readonly rule: ScheduleRule };

/** A change with what an operator overrides in a schedule that is not theirs. */
function changeOf(
  record: ScheduleRecord,
  changes: ScheduleChanges,
  { workflow, input, rule }: { readonly workflow: string; readonly input: string; readonly rule: ScheduleRule },
): RuledChange {
  const paused = changes.paused === undefined ? record.pausedAt !== null : (changes.paused ?? false);
  const change = { workflow, input, rule, paused };
  if (record.owner === operatorOwner) return change;
  const before = overridesOf(record);
  const overrides = {
    ...before,
    rule: { ...before.rule, ...overriddenFields(rule, changes) },
    ...(changes.input === undefined ? {} : { input }),
    ...(changes.paused === undefined ? {} : { paused }),
  };
  return { ...change, overrides: JSON.stringify(overrides) };
}

/** Changes a schedule; slots that are due by the old rule fire first. */
function* changeAfterFiring(
  tx: Tx,
  record: ScheduleRecord,
  change: RuledChange,
  start: HeldStart,
): Script<ScheduleRecord> {
  if (isSameTiming(change.rule, record.rule)) return yield* changeSchedule(tx, record, change);
  checkFires({ rule: change.rule, anchor: tx.now }, tx.now);
  const isActive = record.enabled && record.pausedAt === null;
  const settled = isActive ? (yield* fireSchedule(tx, record, start)).record : record;
  return yield* changeSchedule(tx, settled, change);
}

function previewedRule(options: ScheduleOptions<unknown>, now: number): ScheduleRule {
  checkFields(options);
  return scheduleRule(options, now);
}

function checkCount(option: string, value: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= 1000) return;
  throw new OptionInvalidError(option, `${value} is not a whole number from 1 to 1000`);
}

export type { Preview as SchedulePreview, ScheduleChanges, ScheduleDetail, ScheduleRequest, ScheduleStats };
export type { ScheduleSummary, SlotSummary };

import { all, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/** One step of pruning the slots of schedules: a transaction of limited size. */
export interface SlotPruneStep {
  /** Slots before this time are removed, epoch ms; null keeps them, but for those of removed schedules. */
  readonly before: number | null;
  /** The number of slots to remove at most. */
  readonly rows: number;
  /** The schedule that the step before ended with; null begins a round. */
  readonly from: string | null;
}

/** The result of one step. */
export interface PrunedSlots {
  readonly slots: number;
  /** The place of the next step; null at the end of the round. */
  readonly next: string | null;
}

/** Schedules that one step looks at. */
const width = 200;

interface Old {
  readonly id: string;
  /** 1 if the schedule no longer exists. */
  readonly orphan: number;
  /** Slots to be removed, counted up to a little more than `rows`. */
  readonly count: number;
}

/**
 * Removes slots whose retention is over. The newest slot of each schedule stays, and so does a slot that is buffered. Slots
 * of schedules that no longer exist go whole: a removal that was interrupted has left them.
 */
export function* pruneSlots({ dialect }: Tx, { before, rows, from }: SlotPruneStep): Script<PrunedSlots> {
  const until = before ?? 0;
  const found = yield* all<Old>(
    `with recursive ${schedules('$1')}
     select id, orphan, case when orphan = 1 then ${counted(isOf('s.id'))} else ${counted(isOver('s.id'))} end as count
     from (select id, case when exists (select 1 from schedules where schedules.id = s.id) then 0 else 1 end as orphan
       from s where id is not null limit ${width}) s order by id`,
    from ?? '',
    until,
    rows + 1,
  );
  const [first] = found;
  if (first === undefined) return { slots: 0, next: null };
  if (first.count > rows) {
    const which = first.orphan === 1 ? isOf('$1') : isOver('$1');
    const part = `select l.schedule_id, l.slot from schedule_slots l where ${which} and $2 >= 0 order by l.slot limit $3`;
    const text = `delete from schedule_slots where (schedule_id, slot) in (${part})`;
    return { slots: yield* run(text, first.id, until, rows), next: from ?? '' };
  }
  const fitting: Old[] = [];
  let size = 0;
  for (const one of found) {
    if (size + one.count > rows) break;
    fitting.push(one);
    size += one.count;
  }
  const ids = (orphan: number): string[] =>
    fitting.flatMap((one) => (one.orphan === orphan && one.count > 0 ? [one.id] : []));
  const among = dialect.among('l.schedule_id', '$1');
  let slots = yield* removed(`${among} and ${isOver('l.schedule_id')}`, ids(0), until);
  slots += yield* removed(`${among} and $2 >= 0`, ids(1), until);
  return { slots, next: fitting.at(-1)!.id };
}

function* removed(condition: string, ids: readonly string[], until: number): Script<number> {
  if (ids.length === 0) return 0;
  return yield* run(`delete from schedule_slots as l where ${condition}`, JSON.stringify(ids), until);
}

/** The ids of schedules that have slots, after one: jumps in the key from schedule to schedule. */
function schedules(after: string): string {
  return `s(id) as (${nextSchedule(after)} union all ${nextSchedule('s.id')} from s where s.id is not null)`;
}

function nextSchedule(than: string): string {
  return `select (select l.schedule_id from schedule_slots l where l.schedule_id > ${than} order by l.schedule_id, l.slot limit 1)`;
}

function counted(condition: string): string {
  return `(select count(*) from (select 1 from schedule_slots l where ${condition} limit $3) q)`;
}

/** The slots `l` of a schedule. */
function isOf(schedule: string): string {
  return `l.schedule_id = ${schedule}`;
}

/** Those whose retention is over at $2. */
function isOver(schedule: string): string {
  return `l.schedule_id = ${schedule} and l.slot < $2 and l.through < $2 and l.outcome <> 'buffered'
    and l.slot < (select max(n.slot) from schedule_slots n where n.schedule_id = l.schedule_id)`;
}

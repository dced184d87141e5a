import type { Batch } from '../../transition.ts';
import { postgresDialect } from '../../dialect.ts';
import {
  Pinnings,
  followsChannel,
  pinnedText,
  madeBy,
  refusedText,
  wantedVersions,
} from '../../commit/pinned-versions.ts';
import { arraysOf, rowsFrom } from '../arrays.ts';
import { events } from '../../tables/events.ts';
import { executionTags } from '../../tables/execution-tags.ts';
import { releasedExecutions } from '../../tables/executions.ts';
import { logs } from '../../tables/logs.ts';
import { offerOverwrite, offers } from '../../tables/offers.ts';
import { steps } from '../../tables/steps.ts';
import { overwrites } from '../../tables/table.ts';
import type { Table } from '../../tables/table.ts';
import { taskExecutions, taskOverwrite } from '../../tables/task-executions.ts';
import {
  changedColumns,
  endedOfferRows,
  logRows,
  messageKeys,
  messageRows,
  offerKeys,
  offerRows,
  stepRows,
  taskRows,
  withdrawnOfferRows,
} from '../../commit/batch-rows.ts';
import { removeText } from '../bulk.ts';
import { batchEvents, eventRows, headColumns, headRows, madeExecutions, madeRows, tagRows } from './batch-rows.ts';

/** What the one statement says of a batch. */
export interface CommitRow {
  /** 0 where the statement ran under another isolation than it is made for: nothing was written. */
  readonly isolated: number;
  /** 0 where the runner was declared dead: nothing was written. */
  readonly alive: number;
  /** Versions that cannot be pinned to, as far as could be seen: then nothing was written. */
  readonly refused: number;
  /** 0 where the batch was written before. */
  readonly fresh: number;
  /** Of the executions that were not made by this batch: those that the runner still owns. */
  readonly owned: readonly string[];
  /** Not released: the inbox has a new message. */
  readonly held: readonly string[];
  /** Made for another version than the one that its channel points to. */
  readonly moved: readonly string[];
  /** Offers that were taken back. */
  readonly back: readonly { readonly id: string; readonly task: string; readonly item: number }[];
}

/** Whether the one statement can write a batch: it changes no row of an execution that is neither the batch's own nor made by it. */
export function isPlain({ transitions }: Batch): boolean {
  return transitions.every(({ create, effects, release }) => {
    const tellsNobody = release === null || release.parent === null || release.endedAt === null;
    const endsUnread = create !== null && release !== null && followsChannel(create);
    if (!tellsNobody || endsUnread) return false;
    if (effects === null) return true;
    const { cancelChildren, itemsCancelled, itemsDropped } = effects;
    return [cancelChildren, itemsCancelled, itemsDropped].every((list) => list.length === 0);
  });
}

/**
 * The statement for a batch, and its parameters. Batches up to `floor` are forgotten, now and then. `lockMs`: how long it
 * waits for a row that somebody else holds.
 */
export function commitStatement(
  batch: Batch,
  floor: number,
  lockMs: number,
): { readonly text: string; readonly values: unknown[] } {
  const { runner, lane, n, transitions } = batch;
  const known = transitions.filter(({ create }) => create === null);
  const pinnings = new Pinnings(madeBy(transitions));
  const rows: { readonly [P in Part]: readonly ReturnType<(typeof columnsOf)[P]['record']>[] } = {
    pins: pinnings.rows,
    made: madeRows(runner, transitions, pinnings),
    tags: tagRows(transitions),
    heads: headRows(transitions),
    tasks: taskRows(transitions),
    steps: stepRows(transitions),
    logs: logRows(transitions),
    events: eventRows(runner, transitions),
    messages: messageRows(transitions),
    ended: endedOfferRows(transitions),
    withdrawn: withdrawnOfferRows(transitions),
    offers: offerRows(transitions),
  };
  const has = (part: Part): boolean => rows[part].length > 0;
  const parts = partNames.filter((part) => has(part) || together.some((some) => some.includes(part) && some.some(has)));
  const shape: Shape = {
    parts,
    owns: known.length > 0,
    follows: pinnings.list.some(followsChannel),
    readsMessages:
      (parts.includes('messages') && parts.includes('heads')) ||
      known.some(({ release }) => release !== null && release.endedAt !== null && release.inboxSeen > 0),
  };
  const values: unknown[] = [runner, n, String(lockMs), n % forgetEvery === 0 ? floor : 0, lane];
  if (shape.owns)
    values.push(
      known.map(({ id }) => id),
      known.map(({ epoch }) => epoch),
    );
  for (const part of parts) values.push(...arraysOf<object>(columnsOf[part], rows[part]));
  return { text: textOf(shape), values };
}

/** Forgetting what is no longer needed is for every so many batches only. */
const forgetEvery = 16;

const columnsOf = {
  pins: wantedVersions,
  made: madeExecutions,
  tags: executionTags,
  heads: headColumns,
  tasks: taskExecutions,
  steps,
  logs,
  events: batchEvents,
  messages: messageKeys,
  ended: offerKeys,
  withdrawn: offerKeys,
  offers,
};

type Part = keyof typeof columnsOf;
const partNames = Object.keys(columnsOf) as readonly Part[];

/**
 * Parts that come together, with rows or without: each connection of the server keeps a plan for each shape, of most of a
 * megabyte.
 */
const together: readonly (readonly Part[])[] = [
  ['steps', 'logs'],
  ['messages', 'ended', 'withdrawn', 'offers'],
];

/** What a batch consists of: the statement for it has little else, since every table in a statement costs, even without a row. */
interface Shape {
  readonly parts: readonly Part[];
  readonly owns: boolean;
  readonly follows: boolean;
  readonly readsMessages: boolean;
}

const texts = new Map<string, string>();

function textOf(shape: Shape): string {
  const { parts, owns, follows, readsMessages } = shape;
  const key = [...parts, owns, follows, readsMessages].join();
  let text = texts.get(key);
  if (text === undefined) {
    text = commitText(shape);
    texts.set(key, text);
  }
  return text;
}

/**
 * The group commit as one statement: fence, number of the batch, who still owns what, and all rows. Rows are written with
 * `insert ... on conflict`, never `update ... from`, whose plan degrades on tables that were never analysed.
 */
function commitText({ parts, owns, follows, readsMessages }: Shape): string {
  let last = 5;
  const own = owns ? { ids: `$${++last}`, epochs: `$${++last}` } : null;
  const from = new Map<Part, string>();
  for (const part of parts) {
    from.set(part, rowsFrom(columnsOf[part], last + 1, 'r'));
    last += columnsOf[part].list.length;
  }
  const live = owns
    ? 'select id from owned' + (from.has('made') ? ' union all select id from made' : '')
    : 'select id from made';
  const isLive = `r.execution_id in (select id from live)`;
  const insert = <R>(part: Part, table: Table<R>, conflict = ''): string | null =>
    from.has(part)
      ? `${part}_ as (${table.into} select ${table.names('r.')} from ${from.get(part)} where ${isLive} ${conflict})`
      : null;
  const clauses = [
    fence,
    from.has('pins') ? pins(from.get('pins')!) : null,
    batchOf(from.has('pins')),
    `forgotten as (delete from batches where runner = $1 and lane = $5 and n <= $4)`,
    own === null ? null : owned(own.ids, own.epochs),
    from.has('made') ? made(from.get('made')!, follows, owns) : null,
    `live as materialized (${live})`,
    insert('tags', executionTags),
    from.has('heads') ? heads(from.get('heads')!) : null,
    readsMessages
      ? `read_messages as (${removeText('inbox_messages', '(select id from gone where ended_at is not null) r', ofEnded)})`
      : null,
    insert('tasks', taskExecutions, taskOverwrite),
    insert('steps', steps),
    insert('logs', logs),
    from.has('events') ? eventsText(from.get('events')!, isLive, from.has('heads'), follows) : null,
    from.has('messages')
      ? `messages_ as (delete from inbox_messages using ${from.get('messages')} where inbox_messages.execution_id = r.execution_id and inbox_messages.n = r.n and ${isLive})`
      : null,
    from.has('ended') ? `ended_ as (${removeOffers(from.get('ended')!, isLive)})` : null,
    from.has('withdrawn')
      ? `back as (${removeOffers(from.get('withdrawn')!, isLive)} and offers.helper is null returning offers.execution_id as id, offers.task, offers.item)`
      : null,
    insert('offers', offers, offerOverwrite),
  ];
  return `with ${clauses.filter((clause) => clause !== null).join(',\n  ')}
  select (select count(*) from setting where isolated) as isolated, (select count(*) from fence) as alive, (select count(*) from batch) as fresh,
    ${from.has('pins') ? '(select count(*) from refused)' : '0'} as refused,
    ${owns ? idsOf('owned') : `'[]'::json`} as owned,
    ${from.has('heads') ? idsOf('h join owned using (id) where lets and inbox_seq <> inbox_seen') : `'[]'::json`} as held,
    ${follows ? idsOf('m where moved') : `'[]'::json`} as moved,
    ${from.has('withdrawn') ? `(select coalesce(json_agg(back), '[]') from back)` : `'[]'::json`} as back`;
}

/** The messages of an execution `r` that has ended, all but signals. */
const ofEnded = "inbox_messages.execution_id = r.id and inbox_messages.kind <> 'signal'";

/** Deletes the offers that rows `r` name. */
function removeOffers(from: string, isLive: string): string {
  return `delete from offers using ${from} where offers.execution_id = r.execution_id and offers.task = r.task and offers.item = r.item and ${isLive}`;
}

function idsOf(source: string): string {
  return `(select coalesce(json_agg(id), '[]') from ${source})`;
}

/**
 * While the statement waits for a row it holds that of its runner, which nobody can declare dead meanwhile. Behind a pooler
 * no session bounds that, and a timeout of the statement would count from the next one on; one of locks holds from here on.
 */
const fence = `setting as materialized (select current_setting('transaction_isolation') = 'read committed' as isolated,
    case when current_setting('synchronous_commit') in ('off', 'local', 'remote_write') then set_config('synchronous_commit', 'on', true) end,
    set_config('lock_timeout', $3, true)),
  fence as materialized (select 1 from runners where id = $1 and dead = 0 and (select isolated from setting) for share)`;

/** The versions that the batch pins to, held until its end. */
function pins(from: string): string {
  return `${pinnedText(`select r.* from ${from} where (select isolated from setting)`, postgresDialect)},
  refused as materialized (select w.n from wanted w left join held h on h.n = w.n where ${refusedText})`;
}

/** Everything else is written only where this is. */
function batchOf(pinned: boolean): string {
  const may = pinned ? 'not exists (select 1 from refused) and ' : '';
  return `batch as (insert into batches (runner, lane, n, result) select $1, $5, $2, '' from fence
    where ${may}not exists (select 1 from batches where runner = $1 and lane = $5 and n > $2) on conflict do nothing returning 1)`;
}

/**
 * Row by row, by its key and (`is true`) never by the index of owners, which would compare all that a runner owns with all
 * that it commits.
 */
function owned(ids: string, epochs: string): string {
  return `owned as materialized (select e.* from
    (select * from unnest(${ids}::text[], ${epochs}::int[]) as r(id, epoch) where exists (select 1 from batch) order by id) t
    cross join lateral (select * from executions e where e.id = t.id and e.epoch = t.epoch and (e.owner = $1) is true for update) e)`;
}

/** A child is made if its parent's row is still ours; one that follows a channel is for anyone where that has moved on. */
function made(from: string, follows: boolean, owns: boolean): string {
  const { into } = releasedExecutions;
  const may = `exists (select 1 from batch)${owns ? ' and (r.parent_owned is null or r.parent_owned in (select id from owned))' : ''}`;
  if (!follows)
    return `made as (${into} select ${releasedExecutions.names('r.')} from ${from} where ${may} returning id)`;
  return `m as materialized (select r.*, h.version as head_version, h.digest as head_digest, coalesce(h.digest <> r.digest, false) as moved
    from ${from} left join held h on h.n = r.pin where ${may}),
  made as (${into} select ${releasedExecutions.names('m.', ifMoved)} from m returning id)`;
}

/** An execution whose channel has moved on is another version's, and waits for any runner. */
const ifMoved = Object.fromEntries(
  Object.entries({
    version: 'm.head_version',
    digest: 'm.head_digest',
    build_id: 'm.head_digest',
    status: `case when m.owner is null then m.status else 'pending' end`,
    owner: 'null',
    epoch: '0',
    started_at: 'null',
    input: 'coalesce(m.given, m.input)',
    input_parsed: '0',
  }).map(([column, moved]) => [column, `case when m.moved then ${moved} else m.${column} end`]),
);

const goes = 'h.lets and o.inbox_seq = h.inbox_seen';

/** What changes in the rows of the executions themselves; the ones that go are released. */
function heads(from: string): string {
  const ofRelease = (column: string): string => `case when ${goes} then h.${column} else o.${column} end`;
  const sets: Readonly<Record<string, string>> = {
    status: ofRelease('status'),
    reason: ofRelease('reason'),
    owner: `case when ${goes} then null else o.owner end`,
    wake_at: ofRelease('wake_at'),
    ended_at: ofRelease('ended_at'),
    output: ofRelease('output'),
    error: ofRelease('error'),
    error_task: ofRelease('error_task'),
    ...changedColumns((column) => `h.${column}`),
  };
  const required = ['id', 'tenant', 'workflow', 'build_id', 'epoch', 'created_at', 'root_id'];
  return `h as materialized (select * from ${from}),
  gone as materialized (select h.id, h.ended_at from h join owned o on o.id = h.id where ${goes}),
  heads as (insert into executions (${[...required, ...Object.keys(sets)].join(', ')})
    select ${[...required.map((column) => `o.${column}`), ...Object.values(sets)].join(', ')}
    from owned o join h on h.id = o.id
    on conflict (id) do update set ${overwrites(Object.keys(sets))})`;
}

function eventsText(from: string, isLive: string, lets: boolean, follows: boolean): string {
  const runner = 'case when r.execution_id in (select id from m where moved) then null else r.runner end';
  const may = lets ? `${isLive} and (not r.lets or r.execution_id in (select id from gone))` : isLive;
  return `events_ as (${events.into} select ${events.names('r.', follows ? { runner } : {})} from ${from} where ${may})`;
}

/** Schedules and the results of their slots. Times are epoch ms, rules JSON. */
export const schedules = `
create table schedules (
  id text primary key,
  tenant text not null,
  owner text not null,
  name text not null,
  workflow text not null,
  input text not null,
  rule text not null,
  anchor bigint not null,
  overrides text,
  enabled integer not null,
  paused_at bigint,
  cursor bigint not null,
  next_at bigint,
  buffered_slot bigint,
  last_slot bigint,
  moved_from bigint,
  catch_up_left integer,
  created_at bigint not null,
  updated_at bigint not null
) {{rows by key}};
create unique index schedules_name on schedules (tenant, owner, name);
create index schedules_due on schedules (next_at) where next_at is not null;
create index schedules_cursor on schedules (cursor) where enabled = 1 and paused_at is null;
create index schedules_buffered on schedules (id) where buffered_slot is not null;

create table schedule_slots (
  schedule_id text not null,
  slot bigint not null,
  through bigint not null,
  count integer not null,
  outcome text not null,
  reason text,
  is_catch_up integer not null,
  execution_id text,
  error text,
  at bigint not null,
  primary key (schedule_id, slot)
) {{rows by key}};

`;

/** Schedules and what became of each of their slots. Times are epoch milliseconds. */
export const schedules = `
create table schedules (
  id text primary key,
  tenant text not null,
  owner text not null,
  name text not null,
  workflow text not null,
  input text not null,
  rule text not null,
  paused integer not null,
  enabled integer not null,
  cursor bigint not null,
  next_at bigint,
  created_at bigint not null,
  updated_at bigint not null
);
create unique index schedules_name on schedules (tenant, owner, name);
create index schedules_due on schedules (next_at) where next_at is not null;

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
);
`;

/** Attempts that owners offer to other runners, and which queues and how many slots each runner has. */
export const offers = `
create table offers (
  execution_id text not null,
  task text not null,
  item integer not null,
  epoch integer not null,
  attempt integer not null,
  code text not null,
  queue text not null,
  priority integer not null,
  suspect integer not null,
  offered_at bigint not null,
  helper text,
  taken_at bigint,
  primary key (execution_id, task, item)
) {{rows by key}};
create index offers_open on offers (code, queue, priority desc, offered_at) where helper is null;
create index offers_held on offers (helper) where helper is not null;
alter table runners add column queues text not null default '["default"]';
alter table runners add column slots integer not null default 0;
`;

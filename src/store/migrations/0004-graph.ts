/** Items of maps, lineage, limits, retention, tags, what runners have loaded, and the order in which executions are listed. */
export const graph = `
alter table executions add column retention bigint;
alter table executions add column loads integer not null default 0;
alter table executions add column pruned integer not null default 0;
alter table executions add column forked_from text;
alter table executions add column forked_task text;
alter table task_executions add column value text;
alter table runners add column codes text not null default '[]';

create table definition_codes (
  code text primary key,
  workflow text not null,
  spec text not null,
  written_at bigint not null
);
insert into definition_codes (code, workflow, spec, written_at) select code, workflow, spec, updated_at from definitions;

create table execution_tags (
  tenant text not null,
  name text not null,
  value text not null,
  created_at bigint not null,
  execution_id text not null,
  primary key (tenant, name, value, created_at, execution_id)
) {{rows by key}};
create index execution_tags_execution on execution_tags (execution_id);

drop index executions_pending;
create index executions_free on executions (code, tenant, priority desc, created_at) where status = 'pending' and limit_key is null;
create index executions_limited on executions (code, limit_key, priority desc, created_at) where status = 'pending' and limit_key is not null;
create index executions_limit_owned on executions (limit_key) where owner is not null and limit_key is not null;
create index executions_descendants on executions (root_id) where parent_id is not null;
create index executions_ended on executions (ended_at) where ended_at is not null and parent_id is null and retention is null;
create index executions_expiring on executions ((ended_at + retention)) where ended_at is not null and parent_id is null and retention is not null;
create index executions_newest on executions (tenant, created_at, id);
create index executions_newest_of on executions (tenant, workflow, created_at, id);
create index executions_by_status on executions (tenant, status, created_at, id) where status = 'pending' or status = 'waiting' or status = 'paused' or status = 'failed' or status = 'cancelled';
create index executions_by_status_of on executions (tenant, workflow, status, created_at, id) where status = 'pending' or status = 'waiting' or status = 'paused' or status = 'failed' or status = 'cancelled';
`;

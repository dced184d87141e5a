/**
 * Executions with their tasks, events, logs, messages and offers, and the runners that own them. Times are epoch ms. A
 * lease has a row of its own: each commit holds the runner's row, and none of them may hold up a renewal.
 */
export const executions = `
create table runners (
  id text primary key,
  name text not null,
  host text not null,
  pid integer not null,
  pid_started text,
  registered_at bigint not null,
  dead integer not null default 0,
  build_ids text not null default '[]',
  queues text not null default '["default"]',
  slots integer not null default 0
);

create table runner_leases (
  runner text primary key,
  renewed_at bigint not null,
  lease_until bigint not null
) {{rows by key}};

create table definitions (
  workflow text primary key,
  build_id text not null,
  spec text not null,
  updated_at bigint not null
);

create table builds (
  build_id text primary key,
  workflow text not null,
  spec text not null,
  written_at bigint not null
);

create table executions (
  id text primary key,
  tenant text not null,
  workflow text not null,
  package text,
  version text,
  digest text,
  keeps_version integer not null default 0,
  build_id text not null,
  status text not null,
  reason text,
  owner text,
  epoch integer not null,
  inbox_seq integer not null default 0,
  inbox_acked integer not null default 0,
  crash_count integer not null default 0,
  load_attempts integer not null default 0,
  priority integer not null default 0,
  created_at bigint not null,
  wake_at bigint,
  started_at bigint,
  ended_at bigint,
  input text not null,
  input_parsed integer not null,
  output text,
  error text,
  error_task text,
  tags text,
  idempotency_key text,
  input_hash text,
  limit_key text,
  root_id text not null,
  depth integer not null default 0,
  parent_id text,
  parent_task text,
  parent_item integer,
  schedule_id text,
  schedule_name text,
  slot bigint,
  is_catch_up integer,
  retention bigint,
  pruned integer not null default 0,
  forked_from text,
  forked_task text
) {{rows by key}};
create unique index executions_idempotency on executions (tenant, workflow, idempotency_key) where idempotency_key is not null;
create index executions_free on executions (build_id, priority desc, tenant, created_at) where status = 'pending' and limit_key is null;
create index executions_limited on executions (build_id, priority desc, limit_key, created_at) where status = 'pending' and limit_key is not null;
create index executions_limit_owned on executions (limit_key) where owner is not null and limit_key is not null;
create index executions_waking on executions (wake_at) where status = 'waiting' and wake_at is not null;
create index executions_owned on executions (owner) where owner is not null;
create index executions_inbox on executions (owner) where inbox_seq > inbox_acked and owner is not null;
create index executions_pinned on executions (digest) where digest is not null and ended_at is null;
create index executions_scheduled on executions (schedule_id, slot) where schedule_id is not null;
create index executions_of_schedule_open on executions (schedule_id) where schedule_id is not null and ended_at is null;
create index executions_children on executions (parent_id) where parent_id is not null;
create index executions_descendants on executions (root_id) where parent_id is not null;
create index executions_open_descendants on executions (root_id) where parent_id is not null and ended_at is null;
create index executions_ended on executions (ended_at) where ended_at is not null and parent_id is null and retention is null;
create index executions_expiring on executions ((ended_at + retention)) where ended_at is not null and parent_id is null and retention is not null;
create index executions_newest on executions (tenant, created_at, id);
create index executions_newest_of on executions (tenant, workflow, created_at, id);
create index executions_by_status on executions (tenant, status, created_at, id) where status = 'pending' or status = 'waiting' or status = 'paused' or status = 'failed' or status = 'cancelled';
create index executions_by_status_of on executions (tenant, workflow, status, created_at, id) where status = 'pending' or status = 'waiting' or status = 'paused' or status = 'failed' or status = 'cancelled';

create table execution_tags (
  tenant text not null,
  name text not null,
  value text not null,
  created_at bigint not null,
  execution_id text not null,
  primary key (tenant, name, value, created_at, execution_id)
) {{rows by key}};
create index execution_tags_execution on execution_tags (execution_id);

create table task_executions (
  execution_id text not null,
  task text not null,
  item integer not null,
  status text not null,
  attempt integer not null,
  charged_attempts integer not null,
  epoch integer not null,
  started_at bigint,
  ended_at bigint,
  wake_at bigint,
  output text,
  error text,
  reason text,
  cause text,
  value text,
  primary key (execution_id, task, item)
) {{rows by key}};

create table steps (
  execution_id text not null,
  task text not null,
  item integer not null,
  name text not null,
  output text not null,
  primary key (execution_id, task, item, name)
) {{rows by key}};

create table events (
  execution_id text not null,
  seq integer not null,
  type text not null,
  at bigint not null,
  task text,
  item integer,
  attempt integer,
  runner text,
  data text,
  primary key (execution_id, seq)
) {{rows by key}};

create table logs (
  execution_id text not null,
  task text not null,
  item integer not null,
  attempt integer not null,
  n integer not null,
  at bigint not null,
  level text not null,
  message text not null,
  data text,
  primary key (execution_id, task, item, attempt, n)
) {{rows by key}};

create table inbox_messages (
  execution_id text not null,
  n integer not null,
  at bigint not null,
  kind text not null,
  name text,
  payload text,
  primary key (execution_id, n)
) {{rows by key}};

create table batches (
  runner text not null,
  lane integer not null,
  n bigint not null,
  result text not null,
  primary key (runner, lane, n)
) {{rows by key}};

create table offers (
  execution_id text not null,
  task text not null,
  item integer not null,
  epoch integer not null,
  attempt integer not null,
  build_id text not null,
  queue text not null,
  priority integer not null,
  poison_suspect integer not null,
  offered_at bigint not null,
  helper text,
  taken_at bigint,
  primary key (execution_id, task, item)
) {{rows by key}};
create index offers_open on offers (build_id, queue, priority desc, offered_at) where helper is null;
create index offers_held on offers (helper) where helper is not null;
`;

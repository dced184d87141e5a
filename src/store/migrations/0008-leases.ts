/** Leases in rows of their own: a runner's row is held by each of its commits, and none of them holds up a renewal. */
export const leases = `
create table runner_leases (
  runner text primary key,
  renewed_at bigint not null,
  lease_until bigint not null
) {{rows by key}};
insert into runner_leases (runner, renewed_at, lease_until) select id, renewed_at, lease_until from runners where dead = 0;
alter table runners drop column renewed_at;
alter table runners drop column lease_until;
`;

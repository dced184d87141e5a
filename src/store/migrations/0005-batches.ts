/** The batches that a runner has written, for a database on which the outcome of a commit can stay unknown. */
export const batches = `
create table batches (
  runner text not null,
  n bigint not null,
  result text not null,
  primary key (runner, n)
) {{rows by key}};
`;

/** With which older versions a schema still works: they go on beside newer ones until they are replaced. */
export const compatibility = `
alter table cloacina_migrations add column oldest integer;
`;

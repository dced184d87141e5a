// deps: @duckdb/node-api
// refused: native module
import { workflow } from 'cloacina';
import { DuckDBInstance } from '@duckdb/node-api';
const w = workflow('t');
const a = w.task('a', { retry: { attempts: 1 }, timeout: '20s' }, async () => { const c = await (await DuckDBInstance.create(':memory:')).connect(); return (await c.runAndReadAll('select 42 as n')).getRows().length; });
export default w.returns(a);

// deps: better-sqlite3
// refused: better-sqlite3 is a native module
import { workflow } from 'cloacina';
import Database from 'better-sqlite3';
const w = workflow('t');
const a = w.task('a', () => new Database(':memory:').prepare('select 1 as n').get());
export default w.returns(a);

// deps: @libsql/client
// refused: is a native module
// note: a web client without native parts exists: @libsql/client/web
import { workflow } from 'cloacina';
import { createClient } from '@libsql/client';
const w = workflow('t');
const a = w.task('a', { retry: { attempts: 1 }, timeout: '20s' }, async () => createClient({ url: 'http://127.0.0.1:1' }).execute('select 1').then(() => 'up', (e: Error) => e.message.slice(0, 30)));
export default w.returns(a);

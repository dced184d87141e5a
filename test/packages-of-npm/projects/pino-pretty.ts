// deps: pino pino-pretty
// note: a transport is a worker thread
import { workflow } from 'cloacina';
import pino from 'pino';
const w = workflow('t');
const a = w.task('a', { retry: { attempts: 1 } }, () => { const log = pino({ transport: { target: 'pino-pretty' } }); log.info('hello'); return 1; });
export default w.returns(a);

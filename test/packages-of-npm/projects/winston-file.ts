// deps: winston
import { workflow } from 'cloacina';
import winston from 'winston';
const w = workflow('t');
const a = w.task('a', { retry: { attempts: 1 } }, async () => { const log = winston.createLogger({ transports: [new winston.transports.File({ filename: 'logs/app.log' })] }); log.info('hello'); await new Promise((ok) => setTimeout(ok, 200)); return 1; });
export default w.returns(a);

// deps: puppeteer-core playwright-core
// note: starts a browser: cannot work
import { workflow } from 'cloacina';
import puppeteer from 'puppeteer-core';
const w = workflow('t');
const a = w.task('a', { retry: { attempts: 1 }, timeout: '20s' }, async () => { const b = await puppeteer.launch({ executablePath: '/bin/true' }); await b.close(); return 1; });
export default w.returns(a);

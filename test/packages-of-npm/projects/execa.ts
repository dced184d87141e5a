// deps: execa simple-git
import { workflow } from 'cloacina';
import { execa } from 'execa';
const w = workflow('t');
const a = w.task('a', { retry: { attempts: 1 } }, async () => (await execa('echo', ['x'])).stdout);
export default w.returns(a);

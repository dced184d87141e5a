// deps: bcrypt
// refused: bcrypt is a native module
import { workflow } from 'cloacina';
import bcrypt from 'bcrypt';
const w = workflow('t');
const a = w.task('a', async () => (await bcrypt.hash('x', 4)).length);
export default w.returns(a);

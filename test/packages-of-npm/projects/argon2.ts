// deps: argon2
// refused: argon2 is a native module
import { workflow } from 'cloacina';
import argon2 from 'argon2';
const w = workflow('t');
const a = w.task('a', async () => (await argon2.hash('x')).length);
export default w.returns(a);

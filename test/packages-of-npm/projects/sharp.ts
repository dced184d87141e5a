// deps: sharp
// refused: sharp is a native module
import { workflow } from 'cloacina';
import sharp from 'sharp';
const w = workflow('t');
const a = w.task('a', async () => (await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } }).png().toBuffer()).length);
export default w.returns(a);

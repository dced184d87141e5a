// deps: @napi-rs/canvas
// refused: native module
import { workflow } from 'cloacina';
import { createCanvas } from '@napi-rs/canvas';
const w = workflow('t');
const a = w.task('a', () => createCanvas(4, 4).toBuffer('image/png').length);
export default w.returns(a);

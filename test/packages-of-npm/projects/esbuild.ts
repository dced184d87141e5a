// deps: esbuild
// refused: esbuild is a native module
// note: a native program in a package of its own
import { workflow } from 'cloacina';
import * as esbuild from 'esbuild';
const w = workflow('t');
const a = w.task('a', { retry: { attempts: 1 }, timeout: '20s' }, async () => (await esbuild.transform('const a: number = 1', { loader: 'ts' })).code);
export default w.returns(a);

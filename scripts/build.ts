// Makes dist/ anew: the compiled library, and beside it every file of src/ that is not TypeScript.
import { cpSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { root, runNode, toolFile } from './tool.ts';

const source = join(root, 'src');
const target = join(root, 'dist');

rmSync(target, { recursive: true, force: true });
const compiled = await runNode(toolFile('typescript', 'tsc'), ['-p', 'tsconfig.build.json']);
process.stdout.write(compiled.output);
if (compiled.exitCode === 0) {
  cpSync(source, target, { recursive: true, filter: (path) => statSync(path).isDirectory() || !path.endsWith('.ts') });
}
process.exitCode = compiled.exitCode;

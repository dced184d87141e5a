// Makes dist/ anew from src/. All files of src/ are TypeScript: the demo's package is published from examples/.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, runNode, toolFile } from './tool.ts';

rmSync(join(root, 'dist'), { recursive: true, force: true });
const compiled = await runNode(toolFile('typescript', 'tsc'), ['-p', 'tsconfig.build.json']);
process.stdout.write(compiled.output);
process.exitCode = compiled.exitCode;

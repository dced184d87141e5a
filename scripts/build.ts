// Makes dist/ anew from src/: JavaScript by rolldown, type declarations by TypeScript. The demo's package is published from examples/.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { bundleInto } from './bundle.ts';
import { root, runNode, toolFile } from './tool.ts';

const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
const declaring = runNode(toolFile('typescript', 'tsc'), ['-p', 'tsconfig.build.json']);
await bundleInto(dist);
const declared = await declaring;
process.stdout.write(declared.output);
process.exitCode = declared.exitCode;

// Every static check of the code. All steps run, so one call shows all problems.
import { join } from 'node:path';
import { root, runNode, toolFile, type Ran } from './tool.ts';

interface Step {
  readonly name: string;
  run(): Promise<Ran>;
}

async function lintTarball(): Promise<Ran> {
  const built = await runNode(join(root, 'scripts', 'build.ts'), []);
  return built.exitCode === 0 ? runNode(toolFile('publint'), ['--strict']) : built;
}

const steps: readonly Step[] = [
  { name: 'format', run: () => runNode(toolFile('oxfmt'), ['--check']) },
  { name: 'lint', run: () => runNode(toolFile('oxlint'), ['--type-aware', '--deny-warnings']) },
  { name: 'types', run: () => runNode(toolFile('typescript', 'tsc'), ['-p', 'tsconfig.json']) },
  { name: 'layers', run: () => runNode(join(root, 'test', 'layers.test.ts'), []) },
  { name: 'comments', run: () => runNode(join(root, 'scripts', 'comments.ts'), []) },
  { name: 'dead code', run: () => runNode(toolFile('knip'), ['--no-progress']) },
  { name: 'package', run: lintTarball },
];

let failed = 0;
for (const step of steps) {
  const startedAt = performance.now();
  const { exitCode, output } = await step.run();
  const tookMs = Math.round(performance.now() - startedAt);
  if (exitCode === 0) {
    console.log(`ok      ${step.name} (${tookMs} ms)`);
  } else {
    failed += 1;
    console.log(`FAILED  ${step.name} (${tookMs} ms)\n\n${output.trim()}\n`);
  }
}
console.log(failed === 0 ? 'All checks passed.' : `${failed} of ${steps.length} checks failed.`);
process.exitCode = failed === 0 ? 0 : 1;

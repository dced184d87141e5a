import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { root, toolFile } from '../../scripts/tool.ts';
import { tempFolder } from '../../src/testing/engine-rig.ts';
import type { Cleanup } from '../../src/testing/engine-rig.ts';

const tsc = toolFile('typescript', 'tsc');

/** The number of types that the compiler instantiates for a chain of tasks. */
function instantiations(t: Cleanup, tasks: number): number {
  const folder = tempFolder(t);
  const lines = [
    `import { workflow } from 'definition';`,
    `const w = workflow('chain');`,
    `const t0 = w.task('t0', () => 0);`,
  ];
  for (let i = 1; i < tasks; i++) {
    lines.push(`const t${i} = w.task('t${i}', { needs: { last: t${i - 1} } }, ({ needs }) => needs.last + 1);`);
  }
  lines.push(`const n: number | undefined = t${tasks - 1}.output;`, 'void n;');
  writeFileSync(join(folder, 'chain.mts'), lines.join('\n'));
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      paths: { definition: [join(root, 'src', 'core', 'definition', 'workflow.ts')] },
      typeRoots: [join(root, 'node_modules', '@types')],
    },
    include: [],
    files: ['chain.mts'],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', folder, '--extendedDiagnostics'], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stdout);
  return Number(/Instantiations:\s+(\d+)/.exec(stdout)![1]);
}

describe('interfaces.md, TypeScript: define: the types of the definition API stay affordable', () => {
  it('a chain of 1,000 tasks costs about 70 type instantiations a task', (t) => {
    const [none, few, many] = [1, 201, 1001].map((tasks) => instantiations(t, tasks)) as [number, number, number];
    const [perFew, perMany] = [(few - none) / 200, (many - none) / 1000];
    t.diagnostic(`${perMany.toFixed(1)} instantiations a task`);
    assert.ok(perMany <= 80, `${perMany} instantiations a task`);
    assert.ok(perMany <= perFew * 1.05, `${perMany} a task in a chain of 1,000, ${perFew} in one of 200`);
  });
});

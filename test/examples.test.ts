import assert from 'node:assert/strict';
import { globSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { root } from '../scripts/tool.ts';
import { blocksOf, type Block } from './docs/blocks.ts';
import { commandsOf } from './docs/commands.ts';
import { follow, runProgram } from './docs/steps.ts';
import { temporaryFolder } from './docs/type-check.ts';

/** Folders of `examples/` that contain a program. */
const examples = globSync('examples/*/main.ts', { cwd: root })
  .map((file) => basename(dirname(file)))
  .toSorted();

/** `cloacina` resolves to the sources of this checkout there. */
const hook = ['--import', pathToFileURL(join(import.meta.dirname, 'docs', 'resolve-source.ts')).href];
// a test runner started by a test must not report to the outer one
const { NODE_TEST_CONTEXT: _, ...env } = process.env;

describe('each folder of examples/ is tested', () => {
  for (const name of examples) {
    test(`${name}: its program prints the output in its README`, async () => {
      const folder = temporaryFolder(name);
      try {
        await follow(stepsOf(name), 'run', {
          folder,
          env,
          programs: ([program, ...args]) => {
            const script = program === 'npx' && args[0] === 'node' ? args[1] : undefined;
            return script === undefined ? undefined : [process.execPath, ...hook, join(root, script), ...args.slice(2)];
          },
        });
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });

    test(`${name}: its tests pass`, async () => {
      const files = globSync(`examples/${name}/*.test.ts`, { cwd: root });
      assert.ok(files.length > 0, 'it has none');
      for (const file of files) {
        const { exitCode, output } = await runProgram(process.execPath, [...hook, file], root, env);
        assert.equal(exitCode, 0, output);
      }
    });

    test(`${name}: its README is short, runs the program and shows its output`, () => {
      const readme = readFileSync(join(root, 'examples', name, 'README.md'), 'utf8');
      assert.ok(readme.trimEnd().split('\n').length <= 40);
      const steps = stepsOf(name);
      assert.ok(steps.some(({ text }) => text.includes(`npx node examples/${name}/main.ts`)));
      assert.ok(steps.some(({ marks }) => marks.has('output')));
    });
  }

  test('examples/README.md lists every folder', () => {
    const list = readFileSync(join(root, 'examples', 'README.md'), 'utf8');
    assert.deepEqual(
      examples.filter((name) => !list.includes(`](${name}/)`)),
      [],
    );
  });
});

/**
 * The blocks of an example's README that are marked to be run and start its program; the others are about installing.
 */
function stepsOf(name: string): readonly Block[] {
  return blocksOf(root, `examples/${name}/README.md`).map((block) => {
    const starts = block.language === 'sh' && commandsOf(block).every(({ words }) => words[1] === 'node');
    return starts ? { ...block, marks: new Map([['run', '']]) } : block;
  });
}

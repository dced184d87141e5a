import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { root } from '../scripts/tool.ts';
import { blocksOf, documents, markProblems, place, readBlocks, type Block } from './docs/blocks.ts';
import { commandProblems, commandsOf } from './docs/commands.ts';
import { follow } from './docs/steps.ts';
import { modulesOf, temporaryFolder, typeErrors } from './docs/type-check.ts';

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };

describe('the code blocks of README.md, docs/ and the other documents are checked', () => {
  const all = new Map(documents(root).map((document) => [document, blocksOf(root, document)]));
  const blocks = [...all.values()].flat();

  test('a block names a checked language or says that it is unchecked', () => {
    assert.deepEqual(
      blocks.flatMap((block) => markProblems(block)),
      [],
    );
  });

  test('a sh block calls existing commands, options and scripts', () => {
    const shell = blocks.filter(({ language }) => language === 'sh');
    assert.deepEqual(
      shell.flatMap((block) => commandProblems(block, scripts)),
      [],
    );
  });

  test('a json block is JSON', () => {
    for (const block of blocks.filter(({ language }) => language === 'json')) {
      assert.doesNotThrow(() => JSON.parse(block.text), place(block));
    }
  });

  test('a ts block passes the type check', async () => {
    assert.deepEqual(await typeErrors([...all.values()].flatMap((ones) => modulesOf(ones))), []);
  });

  for (const [document, ones] of all) {
    if (!ones.some(({ marks }) => marks.has('run'))) continue;
    test(`a block marked run works as ${document} says`, () => followHere(ones));
  }
});

/** Follows a document with the sources of this checkout instead of the installed package. */
async function followHere(blocks: readonly Block[]): Promise<void> {
  const folder = temporaryFolder('run');
  const hook = pathToFileURL(join(import.meta.dirname, 'docs', 'resolve-source.ts')).href;
  try {
    await follow(blocks, 'run', {
      folder,
      env: process.env,
      programs: (words) => {
        const [program, ...args] = words[0] === 'npx' ? words.slice(1) : words;
        if (program === 'cloacina') return [process.execPath, join(root, 'bin', 'cloacina.js'), ...args];
        return program === 'node' ? [process.execPath, '--import', hook, ...args] : undefined;
      },
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('the check of code blocks', () => {
  const read = (...lines: readonly string[]): readonly Block[] => readBlocks('a.md', lines.join('\n'));

  test('it reads fences of any length, indented ones, marks and hidden setups, with their lines', () => {
    const blocks = read(
      '# Title',
      '````md text',
      '```ts',
      '````',
      '- in a list:',
      '  ```ts file=src/app.ts run',
      '  const a = 1;',
      '',
      '    b();',
      '  ```',
      '<!-- setup',
      'declare const c: number;',
      '-->',
      '~~~json',
      '{}',
      '~~~',
    );
    assert.deepEqual(
      blocks.map(({ line, language, marks, text }) => [line, language, Object.fromEntries(marks), text]),
      [
        [3, 'md', { text: '' }, '```ts'],
        [7, 'ts', { file: 'src/app.ts', run: '' }, 'const a = 1;\n\n  b();'],
        [12, 'setup', {}, 'declare const c: number;'],
        [15, 'json', {}, '{}'],
      ],
    );
  });

  test('it refuses a block without a language, one of an unchecked language, and an unknown mark', () => {
    const problems = read(
      '```',
      'x',
      '```',
      '```yaml',
      'x',
      '```',
      '```ts text',
      'x',
      '```',
      '```rust text',
      'x',
      '```',
    );
    assert.equal(problems.flatMap((block) => markProblems(block)).length, 3);
  });

  test('it splits commands with quotes, operators, comments and continued lines', () => {
    const [block] = read('```sh', `a 'b "c"' "d \\"e\\"" f\\ g # no`, 'h \\', '  --i && j | k', '```');
    assert.ok(block);
    assert.deepEqual(
      commandsOf(block).map(({ line, words, operator }) => [line, ...words, operator]),
      [
        [2, 'a', 'b "c"', 'd "e"', 'f g', ''],
        [3, 'h', '--i', '&&'],
        [3, 'j', '|'],
        [3, 'k', ''],
      ],
    );
  });

  for (const [command, why] of [
    ['cloacina package paint x', /unknown command/],
    ['npx cloacina package inspect', /missing required argument/],
    ['cloacina --json package list --colour', /unknown option/],
    ['npm run dance', /no script dance/],
    ['npm run demo -- --for-ever', /unknown option/],
    ['frobnicate', /not among the programs/],
  ] as const) {
    test(`it refuses ${command}`, () => {
      const [block] = read('```sh', command, '```');
      assert.ok(block);
      assert.match(commandProblems(block, scripts).join('\n'), why);
    });
  }

  test('it accepts existing commands', () => {
    const [block] = read(
      '```sh',
      'npm ci && npm run demo -- --for 10s',
      'cloacina --json package list > packages.json',
      '```',
    );
    assert.ok(block);
    assert.deepEqual(commandProblems(block, scripts), []);
  });

  test('it finds a type error at the line of its document, across setup and continued blocks', async () => {
    const modules = modulesOf(
      read(
        '<!-- setup',
        'declare const limit: number;',
        '-->',
        '```ts file=one.ts',
        'export const a: number = limit;',
        '```',
        '```ts continues',
        'export const b: string = a;',
        '```',
        '```ts',
        "import { a } from './one.ts';",
        'export const c: number = a;',
        '```',
      ),
    );
    const errors = await typeErrors(modules);
    assert.equal(errors.length, 1, errors.join('\n'));
    assert.match(errors[0] ?? '', /^a\.md:8:14: error TS2322/);
  });

  test('it follows steps: it writes files, changes folders, and reports missing output', async () => {
    const steps = (output: string): readonly Block[] =>
      read(
        '```ts file=here/app.ts',
        "console.log('one', 1 + 1 satisfies number);",
        "console.log('three');",
        '```',
        '```sh run',
        'cd here',
        'node app.ts',
        '```',
        '```text output',
        output,
        '```',
      );
    await followHere(steps('one ...\nthree'));
    await assert.rejects(followHere(steps('four')), /a\.md:10: it did not print "four"/);
  });
});

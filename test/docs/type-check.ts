import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { root, runNode, toolFile } from '../../scripts/tool.ts';
import { place, type Block } from './blocks.ts';

/** A folder of this project for files that tests write: its imports find node_modules, and git ignores it. */
export function temporaryFolder(name: string): string {
  mkdirSync(join(root, '.tmp'), { recursive: true });
  return mkdtempSync(join(root, '.tmp', `${name}-`));
}

/** A module made of one block, or of several if the later ones continue the first. */
interface Module {
  /** Below the temporary folder, with `/`. */
  readonly path: string;
  readonly document: string;
  readonly blocks: Block[];
}

/** Joins the blocks of one document into modules: a `setup` goes before the next block, `continues` after the last. */
export function modulesOf(blocks: readonly Block[]): readonly Module[] {
  const modules: Module[] = [];
  let setups: Block[] = [];
  for (const block of blocks) {
    if (block.language === 'setup') setups.push(block);
    if (block.language !== 'ts') continue;
    const last = modules.at(-1);
    if (block.marks.has('continues')) {
      if (last === undefined) throw new Error(`${place(block)}: there is no block before it to continue`);
      last.blocks.push(...setups, block);
    } else {
      const path = `${block.document}/${block.marks.get('file') ?? `block-${block.line}.ts`}`;
      if (modules.some((module) => module.path === path))
        throw new Error(`${place(block)}: its file has been written before`);
      modules.push({ path, document: block.document, blocks: [...setups, block] });
    }
    setups = [];
  }
  return modules;
}

/** Type-checks modules in one run of the compiler. Returns its errors, with the lines of the documents. */
export async function typeErrors(modules: readonly Module[]): Promise<readonly string[]> {
  if (modules.length === 0) return [];
  const folder = temporaryFolder('docs');
  try {
    for (const { path, blocks } of modules) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), atTheirLines(blocks));
    }
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        extends: '../../tsconfig.json',
        compilerOptions: { noUnusedLocals: false, noUnusedParameters: false, moduleDetection: 'force' },
        include: ['**/*.ts'],
        exclude: [],
      }),
    );
    const { output } = await runNode(toolFile('typescript', 'tsc'), ['-p', folder, '--pretty', 'false']);
    return output
      .split(/\r?\n/)
      .filter((line) => line !== '')
      .map((line) => withDocument(line, folder, modules));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Each block keeps the line that it has in its document, so that the compiler's lines are those of the document. */
function atTheirLines(blocks: readonly Block[]): string {
  const lines: string[] = [];
  for (const { line, text } of blocks) {
    while (lines.length < line - 1) lines.push('');
    lines.push(...text.split('\n'));
  }
  return `${lines.join('\n')}\n`;
}

function withDocument(message: string, folder: string, modules: readonly Module[]): string {
  const below = relative(root, folder).replaceAll('\\', '/');
  const module = modules.find(({ path }) => message.startsWith(`${below}/${path}(`));
  if (module === undefined) return message;
  return message.slice(`${below}/${module.path}`.length).replace(/^\((\d+),(\d+)\)/, `${module.document}:$1:$2`);
}

import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { place, type Block } from './blocks.ts';
import { commandsOf } from './commands.ts';

/** The program that runs a command of a document, with its arguments; undefined if steps may not use the command. */
export type Programs = (words: readonly string[]) => readonly [file: string, ...args: string[]] | undefined;

export interface Surroundings {
  /** An empty folder in which the steps begin. */
  readonly folder: string;
  readonly programs: Programs;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Executes the steps of a document in order and without a shell, so that they behave alike on every system: writes the
 * blocks with a `file`, runs the `sh` blocks that are marked `mark`, and looks for the lines of a `text output` block
 * in the output of the `sh` block before it (`...` in them matches anything). Throws at the first step that fails.
 */
export async function follow(
  blocks: readonly Block[],
  mark: 'run' | 'quickstart',
  around: Surroundings,
): Promise<void> {
  let folder = around.folder;
  let printed: string | undefined;
  for (const block of blocks) {
    const file = block.marks.get('file');
    if (file !== undefined) write(join(folder, file), block.text);
    if (block.language === 'ts' && block.marks.has('run')) {
      const script = file ?? `block-${block.line}.ts`;
      write(join(folder, script), block.text);
      printed = await runCommand(block, block.line, ['node', script], folder, around);
    }
    if (block.language === 'sh') {
      printed = block.marks.has(mark) ? '' : undefined;
      for (const { line, words, operator } of block.marks.has(mark) ? commandsOf(block) : []) {
        if (operator !== '' && operator !== '&&')
          throw new Error(`${place({ ...block, line })}: a step has no ${operator}`);
        if (words[0] === 'cd') folder = join(folder, words[1] ?? '');
        else if (words[0] === 'mkdir') mkdirSync(join(folder, words[1] ?? ''), { recursive: true });
        else printed += await runCommand(block, line, words, folder, around);
      }
    }
    if (block.language === 'text' && block.marks.has('output') && printed !== undefined) expectLines(block, printed);
  }
}

/** The lines of a `text output` block must occur in the output, in their order. */
function expectLines(block: Block, printed: string): void {
  const lines = printed.split(/\r?\n/).map((line) => line.trimEnd());
  let from = 0;
  for (const [index, wanted] of block.text.split('\n').entries()) {
    const pattern = linePattern(wanted.trimEnd());
    const at = lines.findIndex((line, number) => number >= from && pattern.test(line));
    if (at < 0) {
      const where = place({ ...block, line: block.line + index });
      throw new Error(`${where}: it did not print "${wanted}", but:\n${printed}`);
    }
    from = at + 1;
  }
}

function linePattern(wanted: string): RegExp {
  const parts = wanted.split('...').map((part) => part.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`));
  return new RegExp(`^${parts.join('.*')}$`);
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${text}\n`);
}

async function runCommand(
  block: Block,
  line: number,
  words: readonly string[],
  folder: string,
  { programs, env }: Surroundings,
): Promise<string> {
  const [file, ...args] = programs(words) ?? [];
  if (file === undefined) throw new Error(`${place({ ...block, line })}: a step cannot run ${words[0]}`);
  const { exitCode, output } = await runProgram(file, args, folder, env);
  if (exitCode !== 0)
    throw new Error(`${place({ ...block, line })}: ${words.join(' ')} ended with ${exitCode}:\n${output}`);
  return output;
}

/** Runs a program to its end and collects its output. */
export async function runProgram(
  file: string,
  args: readonly string[],
  folder: string,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly exitCode: number; readonly output: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const child = spawn(file, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  child.on('error', reject);
  child.on('close', (code) => resolve(code ?? 1));
  return { exitCode: await promise, output };
}

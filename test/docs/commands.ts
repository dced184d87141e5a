import { makeProgram } from '../../src/cli/program.ts';
import type { Command } from 'commander';
import { place, type Block } from './blocks.ts';

/** One command of a `sh` block. */
export interface ShellCommand {
  /** The line of the document, from 1. */
  readonly line: number;
  readonly words: readonly string[];
  /** The operator after it: `|`, `&&`, `>` ...; '' at the end of a line. */
  readonly operator: string;
}

const token =
  /\s*(?:(?<comment>#.*$)|(?<operator>\|\||&&|>>|[|&;<>])|(?<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\|&;<>])+))/gy;

/** Splits a block into commands as a POSIX shell would, without expanding anything. */
export function commandsOf(block: Block): readonly ShellCommand[] {
  const commands: ShellCommand[] = [];
  const lines = block.text.split('\n');
  for (let at = 0; at < lines.length; at++) {
    const line = block.line + at;
    let text = lines[at] ?? '';
    while (text.endsWith('\\')) text = `${text.slice(0, -1)} ${lines[++at] ?? ''}`;
    let words: string[] = [];
    for (const { groups } of text.matchAll(token)) {
      if (groups?.['word'] !== undefined) words.push(unquote(groups['word']));
      else if (groups?.['operator'] !== undefined) {
        commands.push({ line, words, operator: groups['operator'] });
        words = [];
      }
    }
    if (words.length > 0) commands.push({ line, words, operator: '' });
  }
  return commands;
}

function unquote(word: string): string {
  return word.replaceAll(/'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)/g, (_, single, double, escaped) =>
    String(single ?? (double as string | undefined)?.replaceAll(/\\(["\\$`])/g, '$1') ?? escaped),
  );
}

/** Programs that the documentation may use; their arguments are not checked. */
const otherPrograms = new Set(['cd', 'mkdir', 'cp', 'git', 'node', 'sqlite3', 'curl', 'jq', 'kill', 'docker']);
const npmVerbs = new Set(['ci', 'init', 'install', 'pkg', 'uninstall', 'update', 'view', 'pack']);

/** The problems of the commands of a `sh` block: a program, verb, option or script that does not exist. */
export function commandProblems(block: Block, scripts: Readonly<Record<string, string>>): readonly string[] {
  let isFile = false;
  return commandsOf(block).flatMap(({ line, words, operator }) => {
    const why = isFile ? undefined : commandProblem(words, scripts);
    isFile = /[<>]/.test(operator);
    return why === undefined ? [] : [`${place({ document: block.document, line })}: ${words.join(' ')}: ${why}`];
  });
}

function commandProblem(words: readonly string[], scripts: Readonly<Record<string, string>>): string | undefined {
  const [program = '', ...rest] = words;
  if (program === 'npx') return commandProblem(rest, scripts);
  if (program === 'cloacina') return cliProblem(rest);
  if (program === 'npm') return npmProblem(rest, scripts);
  return otherPrograms.has(program) ? undefined : `${program} is not among the programs that documents use`;
}

function npmProblem(
  [verb = '', ...rest]: readonly string[],
  scripts: Readonly<Record<string, string>>,
): string | undefined {
  if (npmVerbs.has(verb)) return undefined;
  const [name = '', ...given] = verb === 'run' ? rest : [verb, ...rest];
  const script = scripts[name];
  if (script === undefined) return `package.json has no script ${name}`;
  const own = /^node bin\/cloacina\.js (.+)$/.exec(script)?.[1];
  return own === undefined ? undefined : cliProblem([...own.split(' '), ...given.filter((word) => word !== '--')]);
}

/** The CLI's own parser reads the words; only the actions are removed from it. */
function cliProblem(words: readonly string[]): string | undefined {
  const program = makeProgram({ quiet: true, words });
  disarm(program);
  try {
    program.parse(words, { from: 'user' });
    return undefined;
  } catch (error) {
    const { code, message } = error as { readonly code?: string; readonly message: string };
    return code === 'commander.version' || code === 'commander.helpDisplayed' ? undefined : message;
  }
}

function disarm(command: Command): void {
  command.exitOverride().configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  if (command.commands.length === 0) command.action(() => undefined);
  for (const inner of command.commands) disarm(inner);
}

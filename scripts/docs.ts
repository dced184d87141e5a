// Writes the references that follow from the code: docs/cli.md from the commands, docs/errors.md from the table of errors.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorTable, type ErrorRow } from '../src/core/error-table.ts';
import { makeProgram } from '../src/cli/program.ts';
import {
  describeCommands,
  describeGlobalOptions,
  type CommandDescription,
  type OptionDescription,
} from '../src/cli/reference.ts';
import { root } from './tool.ts';

const exits = [
  [0, 'done'],
  [1, 'the operation failed; an execution that failed is one, too'],
  [2, 'usage: the command line, an option or a definition is wrong'],
  [3, 'not found'],
  [4, 'not allowed'],
  [5, 'conflict: it exists, it is in use, somebody else was faster'],
  [6, 'unavailable: the database or the storage is away'],
] as const;

/** `docs/cli.md`. */
function cliReference(): string {
  const program = makeProgram();
  const commands = describeCommands(program);
  return `# CLI

<!-- Written by scripts/docs.ts from the commands; change them there. -->

${program.description()}

A command is a noun and a verb: \`cloacina package list\`. \`cloacina --help\`, \`cloacina package --help\` and so on say
what is here in the terminal. Human text has colour only on a terminal, and none where \`NO_COLOR\` is set; progress goes to stderr.

## Options of every command

They may stand anywhere on the line.

${optionTable(describeGlobalOptions(program))}

With \`--json\` a command prints one JSON document on stdout, or one a line where it is a stream (\`runner\`,
\`execution events --follow\`, \`demo\`), and nothing else there. Times are ISO 8601 in UTC. A command that fails prints
\`{ "error": { "code", "message", ... } }\`; [errors](errors.md) lists the codes. An execution that failed is no such failure:
\`workflow run\` prints its document, with \`status\` and \`error\`, and exits with 1. Fields may be added, none is removed.

## Exit codes

| code | meaning |
| --- | --- |
${exits.map(([code, meaning]) => `| ${code} | ${meaning} |`).join('\n')}
| 130 | \`workflow run\` was interrupted; its execution was handed back |

## Commands

| command | |
| --- | --- |
${commands.map(({ name, description }) => `| [\`${name}\`](#${anchor(name)}) | ${cell(description)} |`).join('\n')}

${commands.map(commandSection).join('\n\n')}
`;
}

function commandSection({ name, usage, description, arguments: given, options }: CommandDescription): string {
  const parts = [`### ${name}`, sentence(description), `\`\`\`text\n${usage}\n\`\`\``];
  if (given.length > 0) {
    const rows = given.map((each) => `| \`${cell(each.name)}\` | ${cell(each.description)} |`);
    parts.push(['| argument | |', '| --- | --- |', ...rows].join('\n'));
  }
  if (options.length > 0) parts.push(optionTable(options));
  return parts.join('\n\n');
}

function optionTable(options: readonly OptionDescription[]): string {
  const rows = options.map((option) => {
    const notes = [
      option.default === null ? '' : `default \`${option.default}\``,
      option.env === null ? '' : `or \`${option.env}\` in the environment`,
      option.choices.length === 0 ? '' : option.choices.map((choice) => `\`${choice}\``).join(', '),
    ].filter((note) => note !== '');
    return `| \`${cell(option.flags)}\` | ${cell([option.description, ...notes].join('; '))} |`;
  });
  return ['| option | |', '| --- | --- |', ...rows].join('\n');
}

/** `docs/errors.md`. */
function errorReference(): string {
  const rows: readonly (readonly [string, ErrorRow])[] = Object.entries(errorTable);
  return `# Errors

<!-- Written by scripts/docs.ts from src/core/error-table.ts; change it there. -->

Every error has a code that never changes: programs may rely on it, in \`error.code\` of what is thrown, in the \`--json\`
documents of the [CLI](cli.md), and in what is stored of a failed execution. Messages may change. The exit code is that of the CLI.

| code | exit | what happened | what to do |
| --- | --- | --- | --- |
${rows.map(([code, { exit, meaning, remedy }]) => `| \`${code}\` | ${exit} | ${cell(meaning)} | ${cell(remedy)} |`).join('\n')}
`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function anchor(heading: string): string {
  return heading.replaceAll(' ', '-');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

/** What must be in which file, by its path from the root of the project. */
export const generated: ReadonlyMap<string, () => string> = new Map([
  ['docs/cli.md', cliReference],
  ['docs/errors.md', errorReference],
]);

if (import.meta.main) {
  for (const [file, write] of generated) writeFileSync(join(root, file), write());
}

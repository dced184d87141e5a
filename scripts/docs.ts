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

/** The output of `--json`, by command. Fields may be added; none is removed. */
const documents: Readonly<Record<string, string>> = {
  'package new': '{ dir, name, version, files: [paths] }',
  'package pack': '{ file, bytes, digest, name, version, workflows: [{ name, tasks: [names] }] }',
  'package inspect': 'the manifest, with `digest` and `bytes`',
  'package list': '{ items: [{ id, name, version, digest, active, status, bytes, registeredAt }] }',
  'package show':
    '{ name, channels: { live: { version, serial } }, versions: [{ version, digest, status, registeredAt, workflows: [names], runners: [{ runner, name, conditions: [{ condition, status, reason, message, serial, at }] }] }] }',
  'package register': '{ id, name, version, digest, created, activated }',
  'package activate': '{ name, channel, version, digest, serial, activatedAt }',
  'package rollback': '{ name, channel, version, digest, serial, activatedAt }',
  'package yank': '{ name, version, status }',
  'package unyank': '{ name, version, status }',
  'package unregister': '{ name, removed: [versions] }',
  'workflow list': '{ items: [{ name, package, version, tasks: [names] }] }',
  'workflow show':
    '{ name, package, version, description, input, output, tasks: [{ name, kind, needs: [names], description }], schedules }',
  'workflow run':
    '`{ executionId, workflow, status, output, outputs: { task: value }, error }`; with `--detach`: `{ executionId, status }`',
  'execution list':
    '{ items: [{ id, workflow, package, version, status, reason, createdAt, startedAt, endedAt, error, parent: { id, task } }], next }',
  'execution show':
    'one item of `execution list`, with `input, output, priority, tags, runner, schedule, forked, tasks: [{ name, status, attempt, startedAt, endedAt, output, error, reason, items }]`',
  'execution events': '`{ items: [{ seq, type, task, item, attempt, at, data }] }`; with `--follow` one of them a line',
  'execution cancel': '`{ id, status }`',
  'execution logs': '`{ items: [{ task, item, attempt, at, level, message, data }] }`',
  'execution pause': '`{ id, status }`',
  'execution resume': '`{ id, status }`',
  'execution retry': '`{ id, status }`',
  'execution fork': '`{ id, status, from, task }`',
  'execution signal': '`{ id, status }`',
  'schedule add': '{ id, name, next, created }',
  'schedule update': 'as `schedule show`',
  'schedule list':
    '{ items: [{ id, name, owner, workflow, cron, every, at, timezone, overlap, catchup, paused, enabled, next, last }] }',
  'schedule show':
    'one item of `schedule list`, with `startAt, endAt, jitter, max, window, input, createdAt, updatedAt`; `every`, `jitter` and `window` are milliseconds',
  'schedule preview': '{ slots: [times], sentence }',
  'schedule pause': 'as `schedule show`',
  'schedule resume': 'as `schedule show`',
  'schedule remove': 'as `schedule show`',
  'schedule history':
    '`{ items: [{ slot, through, count, outcome, reason, isCatchUp, executionId, startedAt, status, error }] }`; neighbours that share a reason are one item: `count` of them, from `slot` to `through`',
  'schedule stats':
    '{ since, total, completed, failed, cancelled, open, skipped, missed, paused, successRate, lag: { meanMs, maxMs } }',
  runner: 'one event a line: `{ event, at, ... }`, the first `ready`, the last `closed`',
  demo: 'one event a line: `{ event, at, ... }`',
  completions: '{ shell, script }',
};

/** `docs/cli.md`. */
function cliReference(): string {
  const program = makeProgram();
  const commands = describeCommands(program);
  return `# CLI

<!-- Written by scripts/docs.ts from the commands; change them there. -->

${program.description()}

A command is a noun and a verb: \`cloacina package list\`. \`cloacina --help\`, \`cloacina package --help\` and so on say
what is here in the terminal. Human text has colour only on a terminal, and none where \`NO_COLOR\` is set; progress goes to stderr.

Compiled code is kept between commands in \`$XDG_CACHE_HOME/cloacina\` (\`~/.cache/cloacina\`, \`~/Library/Caches/cloacina\` on macOS, \`%LOCALAPPDATA%\\cloacina\` on Windows),
and only while no other user can write there or replace that folder. \`NODE_COMPILE_CACHE\` names another one, \`NODE_DISABLE_COMPILE_CACHE=1\` turns it off.

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
  const document = documents[name];
  if (document === undefined) throw new Error(`scripts/docs.ts: what does ${name} --json print?`);
  const parts = [`### ${name}`, sentence(description), `\`\`\`text\n${usage}\n\`\`\``];
  if (given.length > 0) {
    const rows = given.map((each) => `| \`${cell(each.name)}\` | ${cell(each.description)} |`);
    parts.push(['| argument | |', '| --- | --- |', ...rows].join('\n'));
  }
  if (options.length > 0) parts.push(optionTable(options));
  // a document is shown alone, or with its own sentence that names its parts
  parts.push(`With \`--json\`: ${/^\{[^`]*\}$/.test(document) ? `\`${document}\`` : document}.`);
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

/** The required text of each generated file, by its path from the root of the project. */
export const generated: ReadonlyMap<string, () => string> = new Map([
  ['docs/cli.md', cliReference],
  ['docs/errors.md', errorReference],
]);

if (import.meta.main) {
  for (const [file, write] of generated) writeFileSync(join(root, file), write());
}

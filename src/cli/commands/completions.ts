import { Argument } from 'commander';
import type { Command } from 'commander';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { describeCommands, describeGlobalOptions } from '../reference.ts';

const shells = ['bash', 'zsh', 'fish', 'powershell'] as const;
type Shell = (typeof shells)[number];

/** Prints a completion script for a shell. */
export function addCompletionsCommand(program: Command): void {
  program
    .command('completions')
    .description('print a script that completes commands and options in a shell')
    .addArgument(new Argument('<shell>', 'shell').choices([...shells]))
    .action(act((cli: Cli, shell: Shell) => completions(cli, program, shell)));
}

async function completions(cli: Cli, program: Command, shell: Shell): Promise<void> {
  const script = scripts[shell](words(program));
  cli.output.answer({ shell, script }, () => script);
  await Promise.resolve();
}

/** The next words after each beginning of a command line: '' for the first word, 'package', 'package list' ... */
type Words = ReadonlyMap<string, readonly string[]>;

function words(program: Command): Words {
  const globals = describeGlobalOptions(program).map((option) => option.long);
  const after = new Map<string, string[]>([['', [...globals, '--help', '--version']]]);
  for (const command of describeCommands(program)) {
    let path = '';
    for (const word of command.name.split(' ')) {
      const list = after.get(path) ?? [];
      if (!list.includes(word)) list.unshift(word);
      after.set(path, list);
      path = path === '' ? word : `${path} ${word}`;
    }
    after.set(path, [...command.options.map((option) => option.long), ...globals, '--help']);
  }
  return after;
}

const scripts: Readonly<Record<Shell, (after: Words) => string>> = {
  bash: (after) => `_cloacina() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" path="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) case "\${path:+$path }$word" in
${nouns(after)
  .map((path) => `      ${JSON.stringify(path)}) path="\${path:+$path }$word" ;;`)
  .join('\n')}
    esac ;; esac
  done
  case "$path" in
${cases(after, (path, list) => `    ${JSON.stringify(path)}) COMPREPLY=($(compgen -W "${list}" -- "$cur")) ;;`)}
  esac
  if [ "\${#COMPREPLY[@]}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$cur")); fi
}
complete -o filenames -F _cloacina cloacina`,

  zsh: (after) => `#compdef cloacina
_cloacina() {
  local path="" word
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "\${path:+$path }$word" in
${nouns(after)
  .map((path) => `      ${JSON.stringify(path)}) path="\${path:+$path }$word" ;;`)
  .join('\n')}
    esac
  done
  case "$path" in
${cases(after, (path, list) => `    ${JSON.stringify(path)}) compadd -- ${list} ;;`)}
  esac
  _files
}
compdef _cloacina cloacina`,

  fish: (after) =>
    [...after]
      .map(([path, list]) => {
        const given = path === '' ? [] : path.split(' ');
        const seen = given.map((word) => `__fish_seen_subcommand_from ${word}`);
        const open = list.filter((word) => !word.startsWith('-'));
        const unseen = open.length === 0 ? [] : [`not __fish_seen_subcommand_from ${open.join(' ')}`];
        const when = [...seen, ...unseen].join('; and ');
        return `complete -c cloacina${when === '' ? '' : ` -n '${when}'`} -a '${list.join(' ')}'`;
      })
      .join('\n'),

  powershell: (after) => `Register-ArgumentCompleter -Native -CommandName cloacina -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $after = @{
${cases(after, (path, list) => `    '${path}' = '${list}'`)}
  }
  $path = ''
  foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {
    $longer = "$path $element".Trim()
    if ($after.ContainsKey($longer)) { $path = $longer }
  }
  $after[$path] -split ' ' | Where-Object { $_ -like "$wordToComplete*" } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}`,
};

function nouns(after: Words): string[] {
  return [...after.keys()].filter((path) => path !== '');
}

function cases(after: Words, line: (path: string, list: string) => string): string {
  return Array.from(after, ([path, list]) => line(path, list.join(' '))).join('\n');
}

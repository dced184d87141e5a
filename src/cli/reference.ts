import type { Argument, Command, Option } from 'commander';

/** One command of the CLI, for references and completions. */
export interface CommandDescription {
  /** The words that call it, without `cloacina`: `package list`. */
  readonly name: string;
  readonly usage: string;
  readonly description: string;
  readonly arguments: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly OptionDescription[];
}

export interface OptionDescription {
  /** The option as written: `-o, --output <file>`. */
  readonly flags: string;
  readonly long: string;
  readonly description: string;
  readonly default: string | null;
  readonly env: string | null;
  readonly choices: readonly string[];
}

/** Returns every executable command, in the order of the help. */
export function describeCommands(program: Command): CommandDescription[] {
  return program.commands.flatMap((command) => describe(command, []));
}

/** Returns the options of every command. */
export function describeGlobalOptions(program: Command): OptionDescription[] {
  return program.options.filter((option) => option.long !== '--version').map(describeOption);
}

function describe(command: Command, path: readonly string[]): CommandDescription[] {
  const words = [...path, command.name()];
  if (command.commands.length > 0) return command.commands.flatMap((inner) => describe(inner, words));
  const name = words.join(' ');
  return [
    {
      name,
      usage: ['cloacina', name, ...command.registeredArguments.map(argumentUsage), ...optionUsage(command)].join(' '),
      description: command.description(),
      arguments: command.registeredArguments.map((each) => ({ name: each.name(), description: each.description })),
      options: command.options.filter((option) => !option.hidden).map(describeOption),
    },
  ];
}

function argumentUsage(argument: Argument): string {
  return argument.required ? `<${argument.name()}>` : `[${argument.name()}]`;
}

function optionUsage(command: Command): string[] {
  return command.options.length > 0 ? ['[options]'] : [];
}

function describeOption(option: Option): OptionDescription {
  const { flags, description, envVar, argChoices } = option;
  const shown: unknown = option.defaultValue;
  const isSwitch = !option.required && !option.optional;
  return {
    flags,
    long: option.long ?? flags,
    description,
    default: isSwitch || (typeof shown !== 'string' && typeof shown !== 'number') ? null : String(shown),
    env: envVar ?? null,
    choices: argChoices ?? [],
  };
}

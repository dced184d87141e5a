import type { Command } from 'commander';
import { CloacinaError } from '../core/error.ts';
import type { Client } from '../open.ts';
import { Output } from './output.ts';

/** The options of every command. */
export interface GlobalOptions {
  readonly database: string;
  readonly registry: string;
  readonly tenant: string;
  readonly json: boolean;
}

/** The database and registry set on the command line or in the environment. */
export interface ChosenPlaces {
  readonly database?: string;
  readonly registry?: string;
}

/** The context of a command: its options, its output, and access to the library. */
export class Cli {
  readonly options: GlobalOptions;
  readonly chosen: ChosenPlaces;
  readonly output: Output;

  constructor(options: GlobalOptions, chosen: ChosenPlaces) {
    this.options = options;
    this.chosen = chosen;
    this.output = new Output(options.json);
  }

  /** The options for opening a client or a runner. */
  get place(): { readonly registry: string; readonly tenant: string; readonly actor: string } {
    const { registry, tenant } = this.options;
    return { registry, tenant, actor: `cli:${userName()}` };
  }

  /** Opens a client for the duration of one call. */
  async client<T>(use: (client: Client) => Promise<T>): Promise<T> {
    // the engine and the database driver are loaded only by the commands that need them
    const { Client: Opened } = await import('../open.ts');
    await using client = await Opened.open(this.options.database, this.place);
    return await use(client);
  }
}

/** Adapts a command to commander: the function gets its context before its arguments and options. */
export function act<Given extends readonly unknown[]>(
  run: (cli: Cli, ...given: Given) => Promise<void>,
): (...given: [...Given, Command]) => Promise<void> {
  return async (...given) => {
    refuseLostFolder();
    const command = given.at(-1) as Command;
    const all: Omit<GlobalOptions, 'json'> & { readonly json?: boolean } = command.optsWithGlobals();
    const options: GlobalOptions = { ...all, json: all.json ?? false };
    const { database, registry } = options;
    const chosen = {
      ...(isDefault(command, 'database') ? {} : { database }),
      ...(isDefault(command, 'registry') ? {} : { registry }),
    };
    await run(new Cli(options, chosen), ...(given.slice(0, -1) as unknown as Given));
  };
}

/** Relative paths need an existing working folder. Throws FILE_UNREADABLE. */
function refuseLostFolder(): void {
  try {
    process.cwd();
  } catch (cause) {
    const message = 'the working folder of this command does not exist any more; change to another one';
    throw new CloacinaError('FILE_UNREADABLE', message, { cause });
  }
}

function isDefault(command: Command, option: string): boolean {
  return command.getOptionValueSourceWithGlobals(option) === 'default';
}

function userName(): string {
  const { USER, USERNAME, LOGNAME } = process.env;
  return USER ?? USERNAME ?? LOGNAME ?? 'unknown';
}

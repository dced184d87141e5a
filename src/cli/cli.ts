import type { Command } from 'commander';
import { CloacinaError } from '../core/error.ts';
import type { Client } from '../open.ts';
import { Output } from './output.ts';

/** The global options. */
export interface GlobalOptions {
  readonly database: string;
  readonly registry: string;
  readonly tenant: string;
  readonly json: boolean;
}

/** The places set on the command line or in the environment. */
export interface ChosenPlaces {
  readonly database?: string;
  readonly registry?: string;
}

/** The options and the output of one command. */
export class Cli {
  readonly options: GlobalOptions;
  readonly chosen: ChosenPlaces;
  readonly output: Output;

  constructor(options: GlobalOptions, chosen: ChosenPlaces) {
    this.options = options;
    this.chosen = chosen;
    this.output = new Output(options.json);
  }

  /** The options for every `open`. */
  get place(): { readonly registry: string; readonly tenant: string; readonly actor: string } {
    const { registry, tenant } = this.options;
    return { registry, tenant, actor: `cli:${userName()}` };
  }

  /** Opens a client for the duration of one call. */
  async client<T>(use: (client: Client) => Promise<T>): Promise<T> {
    // only commands that need the engine and the database driver load them
    const { Client: Opened } = await import('../open.ts');
    await using client = await Opened.open(this.options.database, this.place);
    return await use(client);
  }
}

/** Wraps the action of a command: puts a `Cli` before its arguments and options. */
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

/** Relative paths need a working folder. Throws FILE_UNREADABLE. */
function refuseLostFolder(): void {
  try {
    process.cwd();
  } catch (cause) {
    const message = 'the working folder no longer exists; change to another folder';
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

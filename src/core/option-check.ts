import { nearNames } from './suggest.ts';
import { isName } from './text.ts';

// Callers without TypeScript get an error that names the option instead of an error from the internals.

/** The kind of value that an option accepts. */
export interface Kind {
  /** Completes the sentence '... is not ...'. */
  readonly what: string;
  readonly fits: (value: unknown) => boolean;
}

/** Checked by other code. */
export const anything: Kind = { what: '', fits: () => true };
export const text: Kind = { what: 'text', fits: (value) => typeof value === 'string' };
export const queueName: Kind = {
  what: 'the name of a queue: a text of 1 to 200 characters, none of them a control character or an invisible one',
  fits: isName,
};
export const flag: Kind = { what: 'true or false', fits: (value) => typeof value === 'boolean' };
export const callable: Kind = { what: 'a function', fits: (value) => typeof value === 'function' };
export const list: Kind = { what: 'an array', fits: (value) => Array.isArray(value) };
export const record: Kind = {
  what: 'an object',
  fits: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
};

/** The kinds of all options of a call; a table with a missing or extra option does not compile. */
export type Kinds<Options> = Readonly<Record<keyof Options & string, Kind>>;

export interface OptionFault {
  readonly option: string;
  readonly message: string;
}

/** Returns the first unknown option or value of the wrong kind, or null. Undefined counts as absent. */
export function optionFault(options: unknown, kinds: Readonly<Record<string, Kind>>): OptionFault | null {
  if (!record.fits(options)) return { option: 'options', message: `${shown(options)} is not an object with options` };
  for (const [option, value] of Object.entries(options as object) as [string, unknown][]) {
    if (!Object.hasOwn(kinds, option)) return { option, message: unknownText(option, Object.keys(kinds)) };
    const { what, fits } = kinds[option]!;
    if (value !== undefined && !fits(value)) return { option, message: `${shown(value)} is not ${what}` };
  }
  return null;
}

function unknownText(option: string, known: readonly string[]): string {
  const near = nearNames(option, known).map((name) => `'${name}'`);
  return `unknown option; ${near.length > 0 ? `did you mean ${near.join(' or ')}?` : `the options are ${known.join(', ')}`}`;
}

/** Formats a value of any kind for a message. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 100 ? `${value.slice(0, 100)}...` : value}'`;
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

import { nearNames } from './suggest.ts';

// Callers that TypeScript does not check get an error that names the option, and not one from somewhere inside.

/** What an option takes. */
export interface Kind {
  /** In words, after 'it is not'. */
  readonly what: string;
  readonly fits: (value: unknown) => boolean;
}

/** Judged elsewhere. */
export const anything: Kind = { what: '', fits: () => true };
export const text: Kind = { what: 'text', fits: (value) => typeof value === 'string' };
/** The name of a queue. */
export const queueName: Kind = {
  what: 'the name of a queue: a text of 1 to 200 characters, none of them a control character',
  fits: (value) => typeof value === 'string' && /^[^\p{Cc}\p{Cs}]{1,200}$/u.test(value),
};
export const flag: Kind = { what: 'true or false', fits: (value) => typeof value === 'boolean' };
export const callable: Kind = { what: 'a function', fits: (value) => typeof value === 'function' };
export const list: Kind = { what: 'an array', fits: (value) => Array.isArray(value) };
export const record: Kind = {
  what: 'an object',
  fits: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
};

/** What every option of a call takes; a table with an option missing or too many does not compile. */
export type Kinds<Options> = Readonly<Record<keyof Options & string, Kind>>;

export interface OptionFault {
  readonly option: string;
  readonly message: string;
}

/** The first option that there is not, or that has a value of another kind; null where all is well. Undefined is absent. */
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

/** A value of any kind, in a message. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 100 ? `${value.slice(0, 100)}...` : value}'`;
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

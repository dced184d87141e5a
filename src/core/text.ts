import { OptionInvalidError } from './error.ts';

// Texts in plain columns: PostgreSQL refuses NUL and lone surrogates, SQLite changes them silently.

const maxChecked = 1000;

/** Characters of a text that is shown: a message, a stack, a line of a log. What is longer is cut. */
export const maxTextLength = 16_384;

/** Refuses a text that not every database stores as it is, or of more than 1,000 characters. Throws OPTION_INVALID. */
export function checkText(option: string, text: string): void {
  if (typeof text !== 'string' || text === '' || text.length > maxChecked) {
    throw new OptionInvalidError(option, `a text of 1 to ${maxChecked} characters is needed`);
  }
  if (text.includes('\0') || !text.isWellFormed()) {
    throw new OptionInvalidError(option, 'a text must not contain a NUL or a lone surrogate');
  }
}

/** Any value as a text that every database stores as it is, cut after `most` characters; default 16,384. */
export function cleanText(value: unknown, most: number = maxTextLength): string {
  const text = String(value);
  const bounded = text.length > most ? `${text.slice(0, Math.max(0, most - 3))}...` : text;
  return bounded.replaceAll('\0', '\u2400').toWellFormed();
}

import { OptionInvalidError } from './error.ts';

// Maximum length of texts in plain columns. PostgreSQL refuses NUL and lone surrogates, SQLite changes them silently.

const maxChecked = 1000;

/** Maximum number of characters of a displayed text (a message, a stack, a log line); longer texts are truncated. */
export const maxTextLength = 16_384;

/**
 * Refuses texts of more than 1,000 characters and texts that some database cannot store unchanged. Throws
 * OPTION_INVALID.
 */
export function checkText(option: string, text: string): void {
  if (typeof text !== 'string' || text === '' || text.length > maxChecked) {
    throw new OptionInvalidError(option, `a text of 1 to ${maxChecked} characters is needed`);
  }
  if (text.includes('\0') || !text.isWellFormed()) {
    throw new OptionInvalidError(option, 'a text must not contain a NUL or a lone surrogate');
  }
}

/**
 * Converts any value to text that every database stores unchanged, truncated after `most` characters; default 16,384.
 */
export function cleanText(value: unknown, most: number = maxTextLength): string {
  const text = String(value);
  const bounded = text.length > most ? `${text.slice(0, Math.max(0, most - 3))}...` : text;
  return bounded.replaceAll('\0', '\u2400').toWellFormed();
}

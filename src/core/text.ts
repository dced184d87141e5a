import { OptionInvalidError } from './error.ts';

// Maximum length of texts in plain columns. PostgreSQL refuses NUL and lone surrogates, SQLite changes them silently.

const maxChecked = 1000;

/** Maximum length of a name in a definition or a manifest, characters. */
export const maxNameLength = 200;

/**
 * Control characters (C0, C1), format characters (bidi controls, zero width), line separators and lone surrogates. A
 * terminal obeys or hides them, so two names that differ could look alike.
 */
const hidden = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
/** Words of many scripts and emoji are written with these two. */
const joiners = /[\u200c\u200d]/gu;
const lineParts = /[\t\n\r]/g;

/** True if a name or a path contains a character that terminals obey or hide. */
export function hasHidden(text: string): boolean {
  return hidden.test(text);
}

/** As `hasHidden`, for texts that people read: zero-width joiners are allowed, in prose tabs and line ends, too. */
export function hasHiddenInText(text: string, kind: 'line' | 'prose'): boolean {
  const rest = text.replaceAll(joiners, '');
  return hidden.test(kind === 'prose' ? rest.replaceAll(lineParts, '') : rest);
}

/** True for a name of 1 to 200 characters, none of which terminals obey or hide. */
export function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= maxNameLength && !hidden.test(value);
}

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

import { OptionInvalidError } from './error.ts';

// Maximum length of texts in plain columns. PostgreSQL refuses NUL and lone surrogates, SQLite changes them silently.

const maxChecked = 1000;

/**
 * Maximum length of a text in an index, bytes of UTF-8. An index of PostgreSQL takes 2,704 bytes for all columns of one entry;
 * the longest are tenant, tag name and tag value, or tenant, workflow and idempotency key.
 */
export const maxIndexedBytes = 1000;
/** The same for a tenant, which is in most indexes. */
export const maxTenantBytes = 200;

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
  checkClean(option, text);
}

/** The same for a text that an index holds: it is measured in bytes of UTF-8. Throws OPTION_INVALID. */
export function checkIndexed(option: string, text: string, most: number = maxIndexedBytes): void {
  if (typeof text !== 'string' || text === '' || Buffer.byteLength(text) > most) {
    throw new OptionInvalidError(option, `a text of 1 to ${most} bytes of UTF-8 is needed`);
  }
  checkClean(option, text);
}

function checkClean(option: string, text: string): void {
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

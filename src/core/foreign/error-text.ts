import { isError } from './realms.ts';

/** Returns the errors that an AggregateError or a SuppressedError holds; none for any other value. */
export function partsOf(thrown: unknown): readonly unknown[] {
  if (!isError(thrown)) return [];
  if (thrown.name === 'SuppressedError') return [Reflect.get(thrown, 'error'), Reflect.get(thrown, 'suppressed')];
  const parts: unknown = Reflect.get(thrown, 'errors');
  if (!Array.isArray(parts)) return [];
  // libraries keep other things under this name: the issues of a schema, the fields of a form
  return thrown.name === 'AggregateError' ? parts : parts.filter((part) => isError(part));
}

/** Maximum number of parts whose messages stand for an empty one. */
const shownParts = 8;
/** Maximum number of levels of errors in errors that are looked at for a message. */
const shownLevels = 4;

/**
 * Returns the message of anything thrown. The messages of its parts replace an empty one (a host with two addresses
 * refuses a connection with such an error), then its code or name. Never throws.
 */
export function messageOf(thrown: unknown): string {
  try {
    return textOf(thrown, shownLevels);
  } catch {
    return 'a value that cannot be shown';
  }
}

function textOf(thrown: unknown, levels: number): string {
  if (!isError(thrown)) return String(thrown);
  // a property of a foreign error may be anything
  const { name, message } = thrown as { readonly name: unknown; readonly message: unknown };
  if (message !== '' || levels === 0) return String(message);
  const texts = partsOf(thrown).map((part) => textOf(part, levels - 1));
  const shown = texts.filter((text) => text !== '').slice(0, shownParts);
  if (shown.length > 0) return shown.join('; ') + (texts.length > shown.length ? '; ...' : '');
  const code: unknown = Reflect.get(thrown, 'code');
  return typeof code === 'string' && code !== '' ? code : String(name);
}

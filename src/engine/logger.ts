import { CloacinaError, DatabaseLostError } from '../core/error.ts';
import { logText } from '../core/foreign/log-data.ts';
import { indented } from '../core/plain.ts';
import { isError } from '../core/foreign/realms.ts';
import { reasonBelow } from '../core/task-error.ts';
import { toTaskError } from '../core/foreign/thrown.ts';
import { unawaited } from './unawaited.ts';

/** The interface of a logger; pino and console implement it. */
export interface Logger {
  debug(data: object, message: string): void;
  info(data: object, message: string): void;
  warn(data: object, message: string): void;
  error(data: object, message: string): void;
}

/**
 * The default: warnings and errors on stderr, with control characters escaped; further lines of a text are indented.
 */
export const stderrLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (data, message) => write('warn', data, message),
  error: (data, message) => write('error', data, message),
};

/** Drops lines that only repeat the loss of the database: each part of a runner reports it. */
export function withoutLoss(logger: Logger): Logger {
  return {
    debug: (data, message) => (isNews(data) ? logger.debug(data, message) : undefined),
    info: (data, message) => (isNews(data) ? logger.info(data, message) : undefined),
    warn: (data, message) => (isNews(data) ? logger.warn(data, message) : undefined),
    error: (data, message) => (isNews(data) ? logger.error(data, message) : undefined),
  };
}

function isNews(data: object): boolean {
  return !(Reflect.get(data, 'error') instanceof DatabaseLostError);
}

/** A logger that never throws and never rejects: it is called in places that must not fail. */
export function steadyLogger(logger: Logger): Logger {
  const at =
    (level: keyof Logger) =>
    (data: object, message: string): void =>
      unawaited(
        () => logger[level](data, message),
        () => undefined, // no other output is left
      );
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Maximum size of one value of a line, bytes, and maximum number of frames of a stack. */
const maxFieldBytes = 4096;
const shownFrames = 8;

function write(level: string, data: object, message: string): void {
  const fields = Object.entries(data).map(([key, value]) => ` ${key}=${fieldText(value)}`);
  const frames = Object.values(data).flatMap(framesOf);
  process.stderr.write(`${indented([`cloacina ${level}: ${message}${fields.join('')}`, ...frames].join('\n'))}\n`);
}

function fieldText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (!isError(value)) return unquoted(logText(value, maxFieldBytes));
  const error = toTaskError(value, '', 'code');
  const reason = reasonBelow(error);
  const text = JSON.stringify(reason === null ? error.message : `${error.message}: ${reason}`);
  return error.code === '' ? text : `${text} (${error.code})`;
}

/** The content of JSON text that is a string, such as that of a Date; other JSON text stays as it is. */
function unquoted(text: string): string {
  return text.startsWith('"') ? (JSON.parse(text) as string) : text;
}

/** The frames of an unexpected error. One of Cloacina says itself what is wrong. */
function framesOf(value: unknown): readonly string[] {
  if (!isError(value) || value instanceof CloacinaError) return [];
  const { stack = '' } = toTaskError(value);
  return (stack.match(/^ +at .+$/gm) ?? []).slice(0, shownFrames).map((frame) => frame.trim());
}

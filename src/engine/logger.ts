import { messageOf } from '../core/error-text.ts';
import { isError } from '../core/realms.ts';
import { DatabaseLostError } from '../core/error.ts';
import { indented } from '../core/plain.ts';
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

function write(level: string, data: object, message: string): void {
  const fields = Object.entries(data).map(([key, value]) => ` ${key}=${text(value)}`);
  process.stderr.write(`${indented(`cloacina ${level}: ${message}${fields.join('')}`)}\n`);
}

function text(value: unknown): string {
  if (isError(value)) return JSON.stringify(messageOf(value));
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
}

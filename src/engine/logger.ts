import { DatabaseReplacedError } from '../core/error.ts';

/** Anything that logs: pino fits, console too. */
export interface Logger {
  debug(data: object, message: string): void;
  info(data: object, message: string): void;
  warn(data: object, message: string): void;
  error(data: object, message: string): void;
}

/** The default: warnings and errors, one line each on stderr. */
export const stderrLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (data, message) => write('warn', data, message),
  error: (data, message) => write('error', data, message),
};

/** The same without lines that only repeat that the database was taken away: each part of a runner hears of it. */
export function withoutLoss(logger: Logger): Logger {
  const heard = (data: object): boolean => !(Reflect.get(data, 'error') instanceof DatabaseReplacedError);
  return {
    debug: (data, message) => (heard(data) ? logger.debug(data, message) : undefined),
    info: (data, message) => (heard(data) ? logger.info(data, message) : undefined),
    warn: (data, message) => (heard(data) ? logger.warn(data, message) : undefined),
    error: (data, message) => (heard(data) ? logger.error(data, message) : undefined),
  };
}

function write(level: string, data: object, message: string): void {
  const fields = Object.entries(data).map(([key, value]) => ` ${key}=${text(value)}`);
  process.stderr.write(`cloacina ${level}: ${message}${fields.join('')}\n`);
}

function text(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
}

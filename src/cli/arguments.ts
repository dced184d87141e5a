import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { CloacinaError, ScheduleInvalidError } from '../core/error.ts';
import type { Json } from '../core/json.ts';
import { queueName } from '../core/option-check.ts';
import { timeOf } from '../core/schedule/rule.ts';
import { envGrant } from '../package/load/grants.ts';
import type { Grants } from '../package/load/grants.ts';
import { makeFolder } from '../store/sqlite/folder.ts';
import { UsageError } from './failure.ts';
import { reason } from './errno.ts';

/** One byte more than the limit of a package file, so that its reader can refuse it. */
const readLimit = 50 * 1024 * 1024 + 1;

/** Returns a parser of whole numbers of at least `least`. */
export function wholeNumber(least: number): (given: string) => number {
  return (given) => {
    const value = Number(given);
    if (/^\d+$/.test(given) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`It must be a whole number of at least ${least}.`);
  };
}

/** Names of queues, for a repeatable option; in the environment they are separated by commas. */
export function queueNames(given: string, before: readonly string[] = []): readonly string[] {
  const names = given.split(',').map((name) => name.trim());
  if (!names.every((name) => queueName.fits(name))) throw new InvalidArgumentError(`It is not ${queueName.what}.`);
  return [...before, ...names];
}

/** Grants of environment names, for a repeatable option; separated by commas. */
function envGrants(given: string, before: readonly string[] = []): readonly string[] {
  const names = given.split(',').map((name) => name.trim());
  const set = names.filter((name) => name !== ''); // CLOACINA_ALLOW_ENV may be empty
  for (const name of set) {
    if (!envGrant.fits(name)) throw new InvalidArgumentError(`'${name}' is not ${envGrant.what}.`);
  }
  return [...before, ...set];
}

/** The options of a command that grants permissions to packages. */
export interface GrantOptions {
  readonly allowEnv?: readonly string[];
  readonly allowNet?: boolean;
}

/** Returns the grants of a command. Throws USAGE for a CLOACINA_ALLOW_NET that is neither 1 nor 0. */
export function grantsOf({ allowEnv = [], allowNet = false }: GrantOptions): Grants {
  const set = process.env['CLOACINA_ALLOW_NET'] ?? '';
  if (!['', '0', '1'].includes(set)) throw new UsageError(`CLOACINA_ALLOW_NET is '${set}'; set it to 1 or 0`);
  return { env: allowEnv, net: allowNet || set === '1' };
}

/** Adds the options for the grants to packages. */
export function addGrantOptions(command: Command): Command {
  return (
    command
      .addOption(
        new Option(
          '--allow-env <names>',
          'environment variables that packages may read if they ask for them: NAME,PREFIX_*; repeatable (default: none)',
        )
          .env('CLOACINA_ALLOW_ENV')
          .argParser(envGrants),
      )
      // not with `env()`: a variable of any value, such as 0, would set a flag
      .option(
        '--allow-net',
        'let packages that ask for the network use it; or `CLOACINA_ALLOW_NET=1` in the environment',
      )
  );
}

/** `name=value`, for a repeatable option. */
export function pair(given: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const at = given.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must have the form name=value.');
  return { ...before, [given.slice(0, at)]: given.slice(at + 1) };
}

/** Parses a time: ISO 8601; a date alone is its midnight in UTC, a time without offset is UTC. */
export function moment(given: string): Date {
  try {
    return new Date(timeOf('time', given));
  } catch (error) {
    if (!(error instanceof ScheduleInvalidError)) throw error;
    throw new InvalidArgumentError(`${error.message.slice(`${error.field}: `.length)}.`);
  }
}

/**
 * Reads the value of `--input` or another option: JSON, `@FILE` with JSON in it, or `@-` for stdin. Throws USAGE,
 * FILE_UNREADABLE, PAYLOAD_TOO_LARGE.
 */
export async function readInput(given: string, option: string = '--input'): Promise<Json> {
  const from = given.startsWith('@') ? given.slice(1) : null;
  const what = from === null ? `the value of ${option}` : from === '-' ? 'the text on stdin' : from;
  if (from === null && given.includes('\ufffd')) {
    // Node replaces invalid bytes of an argument by U+FFFD
    throw new UsageError(`${what} is not UTF-8, or contains the character U+FFFD: write that character as \\ufffd`);
  }
  const written =
    from === null ? given : decode(from === '-' ? await readSome(process.stdin) : await readBytes(from), what);
  const text = written.replace(/^\ufeff/, '');
  try {
    return mayLoseDigits.test(text) ? (JSON.parse(text, exactNumber) as Json) : (JSON.parse(text) as Json);
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    const hint = from === null ? `; write JSON such as '{"n": 1}', or @FILE` : '';
    throw new UsageError(
      `${what} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}${hint}`,
      cause,
    );
  }
}

function decode(bytes: Uint8Array, what: string): string {
  if (bytes.length >= readLimit) {
    throw new CloacinaError(
      'PAYLOAD_TOO_LARGE',
      `${what} has more than 50 MB; store the value elsewhere and pass a reference`,
    );
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new UsageError(`${what} is not UTF-8`, cause);
  }
}

const mayLoseDigits = /\d{16}|\d[eE]\+?\d{2}/;

/** A reviver that refuses whole numbers that JavaScript rounds or cannot represent. */
function exactNumber(_key: string, value: unknown, { source = '' }: { readonly source?: string } = {}): unknown {
  if (typeof value !== 'number') return value;
  const isRounded = /^-?\d+$/.test(source) && BigInt(source) !== BigInt(value);
  if (Number.isFinite(value) && !isRounded) return value;
  throw new UsageError(`the number ${source} would lose digits; write it as text: "${source}"`);
}

/** Reads up to the limit. */
async function readSome(stream: AsyncIterable<unknown>): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size >= readLimit) break;
  }
  return Buffer.concat(chunks);
}

/** Reads a file up to the limit of a package file. Throws FILE_UNREADABLE. */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readSome(createReadStream(path));
  } catch (cause) {
    throw new CloacinaError('FILE_UNREADABLE', `the file ${resolve(path)} cannot be read: ${reason(cause)}`, { cause });
  }
}

/** Writes a file atomically: a reader sees the old or the new content. Throws FILE_UNWRITABLE. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<string> {
  const target = resolve(path);
  // a random name and `wx` prevent a planted link in a folder that other users can write to
  const unfinished = `${target}.${randomUUID()}.tmp`;
  await writing(target, async () => {
    try {
      makeFolder(dirname(target));
      await writeFile(unfinished, bytes, { flag: 'wx' });
      await rename(unfinished, target);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
  });
  return target;
}

/** Converts an error of the file system to FILE_UNWRITABLE. */
export async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    if (!(cause instanceof Error && 'syscall' in cause)) throw cause;
    throw new CloacinaError('FILE_UNWRITABLE', `${resolve(path)} cannot be written: ${reason(cause)}`, { cause });
  }
}

/** Parses `NAME` or `NAME@VERSION`; the name may have a scope, `@team/name`. */
export function packageAt(given: string): { readonly name: string; readonly version: string | undefined } {
  const at = given.lastIndexOf('@');
  if (at <= 0) return { name: given, version: undefined };
  return { name: given.slice(0, at), version: given.slice(at + 1) };
}

/** `NAME@VERSION` with a required version. Throws USAGE. */
export function exactPackage(given: string): { readonly name: string; readonly version: string } {
  const { name, version } = packageAt(given);
  if (version === undefined || version === '') {
    throw new UsageError(`'${given}' has no version; write, for example, ${name}@1.0.0`);
  }
  return { name, version };
}

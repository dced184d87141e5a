import { createReadStream } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { InvalidArgumentError } from 'commander';
import { CloacinaError } from '../core/error.ts';
import type { Json } from '../core/json.ts';
import { makeFolder } from '../store/folder.ts';
import { UsageError } from './failure.ts';
import { reason } from './reasons.ts';

/** One byte more than a package file may have: enough for its reader to refuse it. */
const readLimit = 50 * 1024 * 1024 + 1;

/** A whole number from `least`, for an option. */
export function wholeNumber(least: number): (given: string) => number {
  return (given) => {
    const value = Number(given);
    if (/^\d+$/.test(given) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`It is not a whole number from ${least}.`);
  };
}

/** `name=value`, for an option that may be given again. */
export function pair(given: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const at = given.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It is not of the form name=value.');
  return { ...before, [given.slice(0, at)]: given.slice(at + 1) };
}

/** A moment, for an option: ISO 8601; a date alone is its midnight in UTC, a time without offset is UTC. */
export function moment(given: string): Date {
  const zoned = /(Z|[+-]\d\d:?\d\d)$/i.test(given) || !given.includes(':') ? given : `${given}Z`;
  const at = new Date(zoned);
  if (/^\d{4}-\d\d-\d\d/.test(given) && !Number.isNaN(at.getTime())) return at;
  throw new InvalidArgumentError('It is not a time; write it as in 2026-03-29T02:30:00Z.');
}

/** The value of `--input`, or of another option: JSON, `@FILE` with JSON in it, or `@-` for stdin. */
export async function readInput(given: string, option: string = '--input'): Promise<Json> {
  const from = given.startsWith('@') ? given.slice(1) : null;
  const written = from === null ? given : from === '-' ? await text(process.stdin) : await readText(from);
  try {
    return JSON.parse(written.replace(/^\ufeff/, '')) as Json;
  } catch (cause) {
    const what = from === null ? `the value of ${option}` : from === '-' ? 'what came on stdin' : from;
    const hint = from === null ? `; write JSON such as '{"n": 1}', or @FILE` : '';
    throw new UsageError(
      `${what} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}${hint}`,
      cause,
    );
  }
}

async function readText(path: string): Promise<string> {
  return Buffer.from(await readBytes(path)).toString('utf8');
}

/** A file that the command line names; no more of it than a package may have. Throws FILE_UNREADABLE. */
export async function readBytes(path: string): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of createReadStream(path, { end: readLimit - 1 })) chunks.push(chunk as Buffer);
  } catch (cause) {
    throw new CloacinaError('FILE_UNREADABLE', `the file ${resolve(path)} cannot be read: ${reason(cause)}`, { cause });
  }
  return Buffer.concat(chunks);
}

/** Writes a file as a whole: who reads it meanwhile sees the old one or the new one. Throws FILE_UNWRITABLE. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<string> {
  const target = resolve(path);
  const unfinished = `${target}.${process.pid}.tmp`;
  await writing(target, async () => {
    try {
      makeFolder(dirname(target));
      await writeFile(unfinished, bytes);
      await rename(unfinished, target);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
  });
  return target;
}

/** Turns what the file system refuses into FILE_UNWRITABLE. */
export async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    if (!(cause instanceof Error && 'syscall' in cause)) throw cause;
    throw new CloacinaError('FILE_UNWRITABLE', `${resolve(path)} cannot be written: ${reason(cause)}`, { cause });
  }
}

/** `NAME` or `NAME@VERSION`; the name may have a scope, `@team/name`. */
export function packageAt(given: string): { readonly name: string; readonly version: string | undefined } {
  const at = given.lastIndexOf('@');
  if (at <= 0) return { name: given, version: undefined };
  return { name: given.slice(0, at), version: given.slice(at + 1) };
}

/** `NAME@VERSION`, where the version must be there. Throws USAGE. */
export function exactPackage(given: string): { readonly name: string; readonly version: string } {
  const { name, version } = packageAt(given);
  if (version === undefined || version === '') {
    throw new UsageError(`'${given}' names no version; write it as in ${name}@1.0.0`);
  }
  return { name, version };
}

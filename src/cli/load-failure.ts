import { isError } from '../core/foreign/realms.ts';
import { CloacinaError } from '../core/error.ts';
import type { ErrorCode } from '../core/error-table.ts';
import { placeIn } from '../package/isolate/exports.ts';
import { hostNames } from '../package/isolate/spawn.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The surroundings of code that did not load. */
export interface Surroundings {
  /** The name of the package in messages. */
  readonly label: string;
  /** The name of the temporary folder of the package. */
  readonly folder: string;
  /** The names of the environment that the code read in vain; `*`: it listed all names. */
  readonly reads: ReadonlySet<string>;
  /** The names that the package asks for. */
  readonly asked: readonly string[];
  readonly environment: Environment;
  /** The names of bundled packages with native parts. */
  readonly nativePackages: readonly string[];
  /** Doubts about the code. */
  readonly warnings: readonly string[];
}

/** The codes of errors in a definition. */
const ruleCodes: ReadonlySet<unknown> = new Set<ErrorCode>([
  'DEFINITION_INVALID',
  'OPTION_INVALID',
  'SCHEDULE_INVALID',
  'NOT_SERIALIZABLE',
  'PAYLOAD_TOO_LARGE',
]);

/**
 * Converts the error of code that did not load in an isolate: BUILD_FAILED with its place in the sources and the likely
 * reason, or the code of a broken rule.
 */
export function loadFailure(error: CloacinaError, surroundings: Surroundings): CloacinaError {
  const { label, folder } = surroundings;
  const thrown = error.cause;
  if (!isError(thrown)) {
    const message = `${error.message}${missingText(error.message, undefined, surroundings)}`;
    return new CloacinaError('BUILD_FAILED', message, { cause: error });
  }
  const stack = thrown.stack ?? '';
  const text = `${placeIn(stack, folder)}${thrown.message}`;
  const code: unknown = Reflect.get(thrown, 'code');
  if (ruleCodes.has(code)) return new CloacinaError(code as ErrorCode, text, { cause: thrown });
  const known = nativeText(stack, surroundings) ?? fileText(thrown.message, folder);
  const reason = known ?? possibleText(thrown.message, code, surroundings);
  return new CloacinaError('BUILD_FAILED', `${label} does not load: ${text}${reason}`, { cause: thrown });
}

function possibleText(message: string, code: unknown, surroundings: Surroundings): string {
  const doubts = surroundings.warnings.map((warning) => `\n${warning}`);
  return missingText(message, code, surroundings) + doubts.join('');
}

/** The reason if code of a package with native parts threw the error. */
function nativeText(stack: string, { folder, nativePackages }: Surroundings): string | null {
  const frames = new RegExp(`${folder}[/\\\\]source[/\\\\]node_modules[/\\\\]((?:@[^/\\\\]+[/\\\\])?[^/\\\\]+)`, 'g');
  for (const [, name = ''] of stack.matchAll(frames)) {
    const found = name.replaceAll('\\', '/');
    if (nativePackages.includes(found)) return `; ${found} is a native module, which cannot be packed`;
  }
  return null;
}

/** The reason if the message is about a file that is not in the package. */
function fileText(message: string, folder: string): string | null {
  const path = new RegExp(`ENOENT.*${folder}[/\\\\]assets[/\\\\]([^'"\n]+)`).exec(message)?.[1];
  if (path === undefined) return null;
  return `; '${path.replaceAll('\\', '/')}' is not in the package: name it in cloacina.files of package.json`;
}

const maxNamed = 10;

/** Errors with a cause of their own: the environment is a reason only if the message names it. */
const otherCauses: ReadonlySet<unknown> = new Set([
  'ERR_ACCESS_DENIED',
  'ERR_MODULE_NOT_FOUND',
  'MODULE_NOT_FOUND',
  'ENOENT',
]);

/**
 * The suffix of a message of code that did not load: the environment names that it read and that were not set. Libraries
 * read many optional names, so names that appear in the message take precedence.
 */
function missingText(message: string, code: unknown, { reads, asked, environment }: Surroundings): string {
  const hasOtherCause = otherCauses.has(code);
  const isListed = reads.has('*') && !hasOtherCause;
  const unset = asked.filter((name) => environment[name] === undefined);
  const read = [...reads].filter((name) => name !== '*' && !hostNames.includes(name));
  const missing = [...new Set([...read, ...(isListed ? unset : [])])];
  const named = missing.filter((name) => message.includes(name));
  const meant = (named.length > 0 || hasOtherCause ? named : missing).slice(0, maxNamed);
  const notSet = meant.filter((name) => unset.includes(name));
  const notAsked = meant.filter((name) => !asked.includes(name));
  return [
    ...notSet.map((name) => `; ${name} is in permissions.env but is not set here: set it, or use --env-file`),
    ...notAsked.map((name) => `; ${name} is not in permissions.env`),
    ...(isListed && meant.length === 0 ? ['; it can read only the environment variables in permissions.env'] : []),
  ].join('');
}

import { tmpdir } from 'node:os';
import { basename } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CloacinaError } from '../core/error.ts';
import type { ErrorCode } from '../core/error-table.ts';
import type { WorkflowSpec } from '../core/definition/spec.ts';
import { stderrLogger } from '../engine/logger.ts';
import type { Logger } from '../engine/logger.ts';
import type { BundledCode } from '../package/pack/build.ts';
import type { PackageMemory } from '../options.ts';
import { Isolate } from '../package/isolate/isolate.ts';
import type { IsolateOptions } from '../package/isolate/isolate.ts';
import { hostNames } from '../package/isolate/spawn.ts';
import { unpackTemporary } from '../package/load/unpack.ts';
import { ownFile } from '../own-files.ts';
import { watchMark } from './environment-watch.ts';
import { writing } from './arguments.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Next to the files of the bundle, `index.mjs` and its lazy chunks. */
const watchPath = 'code/cloacina-watch.mjs';
const entryPath = 'code/cloacina-describe.mjs';

function watchSource(): string {
  const url = pathToFileURL(ownFile('cli/environment-watch')).href;
  return `import { watchEnvironment } from ${JSON.stringify(url)};\nwatchEnvironment();\n`;
}

/** Loads the watch first, then re-exports the code. */
const entrySource = `import './cloacina-watch.mjs';
import * as code from './index.mjs';
export * from './index.mjs';
export default code['default'];
`;

/**
 * Loads a bundle in an isolate from a temporary folder and returns its workflows. The code sees the names of
 * `env` that are set in `environment`. Throws FILE_UNWRITABLE; BUILD_FAILED if the code does not load (with the missing
 * environment names) or if its workflows depend on the environment; DEFINITION_INVALID and others if it breaks a rule.
 */
export async function describeInIsolate(
  { label, files, env }: BundledCode,
  environment: Environment = process.env,
  memory: PackageMemory = {},
): Promise<readonly WorkflowSpec[]> {
  const all = new Map([...files, [watchPath, Buffer.from(watchSource())], [entryPath, Buffer.from(entrySource)]]);
  await using folder = await writing(tmpdir(), () => unpackTemporary(all));
  const reads = new Set<string>();
  const logger = readsLogger(reads);
  const given = env.filter((name) => environment[name] !== undefined);
  const settings = { dir: folder.dir, entry: entryPath, label, environment: neutral, ...memory };
  const seen = { ...neutral, ...pick(given, environment) };
  await using isolate = new Isolate({ ...settings, environment: seen, logger, grants: { env: given } });
  let workflows: readonly WorkflowSpec[];
  try {
    workflows = await isolate.describe();
  } catch (error) {
    if (!(error instanceof CloacinaError)) throw error;
    const missing = (message: string, code: unknown): string =>
      missingText({ message, code, reads, asked: env, environment });
    throw buildError(error, label, basename(folder.dir), missing);
  }
  if (given.length > 0) await compareWithout(given, settings, workflows);
  return workflows;
}

/** Replaces the zone and the language of this machine: the same sources are the same package everywhere. */
const neutral: Environment = { TZ: 'UTC' };

function pick(names: readonly string[], environment: Environment): Environment {
  return Object.fromEntries(names.map((name) => [name, environment[name]]));
}

/** The graphs of a version must be equal on all machines, and runners have other values than the packing machine. */
async function compareWithout(
  given: readonly string[],
  settings: Pick<IsolateOptions, 'dir' | 'entry' | 'label' | 'environment' | 'heapMb' | 'offHeapMb'>,
  workflows: readonly WorkflowSpec[],
): Promise<void> {
  await using isolate = new Isolate({ ...settings, logger: silentLogger });
  // code that needs the variables does not load without them, and leaves nothing to compare
  const without = await isolate.describe().catch(() => workflows);
  if (JSON.stringify(without) === JSON.stringify(workflows)) return;
  const what = `${settings.label} cannot be packed: its workflows depend on ${given.join(', ')}`;
  throw new CloacinaError('BUILD_FAILED', `${what}; read the environment inside tasks, with ctx.env`);
}

const silentLogger: Logger = { ...stderrLogger, warn: () => undefined, error: () => undefined };

/** Passes the output of the code on, and collects the lines of the watch in `reads`. */
function readsLogger(reads: Set<string>): Logger {
  const info = (_: object, line: string): void => {
    if (line.startsWith(watchMark)) reads.add(line.slice(watchMark.length));
  };
  return { ...stderrLogger, info };
}

const maxNamed = 10;

/** Errors with a cause of their own: the environment is a reason only if the message names it. */
const otherCauses: ReadonlySet<unknown> = new Set([
  'ERR_ACCESS_DENIED',
  'ERR_MODULE_NOT_FOUND',
  'MODULE_NOT_FOUND',
  'ENOENT',
]);

/** The failure of code that did not load, and the names of the environment that it read in vain. */
interface Failure {
  readonly message: string;
  /** The code of the thrown error. */
  readonly code: unknown;
  readonly reads: ReadonlySet<string>;
  readonly asked: readonly string[];
  readonly environment: Environment;
}

/**
 * The suffix of a message of code that did not load: the environment names that it read and that were not set. Libraries
 * read many optional names, so names that appear in the message take precedence.
 */
function missingText({ message, code, reads, asked, environment }: Failure): string {
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

/** The codes of errors in a definition. */
const ruleCodes: ReadonlySet<unknown> = new Set<ErrorCode>([
  'DEFINITION_INVALID',
  'OPTION_INVALID',
  'SCHEDULE_INVALID',
  'NOT_SERIALIZABLE',
  'PAYLOAD_TOO_LARGE',
]);

function buildError(
  error: CloacinaError,
  label: string,
  folder: string,
  missing: (message: string, code?: unknown) => string,
): CloacinaError {
  const thrown = error.cause;
  if (!(thrown instanceof Error)) {
    return new CloacinaError('BUILD_FAILED', `${error.message}${missing(error.message)}`, { cause: error });
  }
  const place = placeIn(thrown.stack ?? '', folder);
  const code: unknown = Reflect.get(thrown, 'code');
  if (ruleCodes.has(code)) {
    return new CloacinaError(code as ErrorCode, `${place}${thrown.message}`, { cause: thrown });
  }
  const message = `${label} does not load: ${place}${thrown.message}${missing(thrown.message, code)}`;
  return new CloacinaError('BUILD_FAILED', message, { cause: thrown });
}

/** The place of an error in the sources, as `src/index.ts:3:7: `; '' if the stack has no frame of the package. */
function placeIn(stack: string, folder: string): string {
  const frame = new RegExp(`${folder}[/\\\\]source[/\\\\](.+:\\d+:\\d+)\\)?$`, 'm').exec(stack)?.[1];
  return frame === undefined ? '' : `${frame.replaceAll('\\', '/')}: `;
}

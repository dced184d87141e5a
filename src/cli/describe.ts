import { tmpdir } from 'node:os';
import { basename } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CloacinaError } from '../core/error.ts';
import type { ErrorCode } from '../core/error-table.ts';
import type { WorkflowSpec } from '../core/definition/spec.ts';
import { stderrLogger } from '../engine/logger.ts';
import type { Logger } from '../engine/logger.ts';
import type { BundledCode } from '../package/pack/build.ts';
import { Isolate } from '../package/isolate/isolate.ts';
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
): Promise<readonly WorkflowSpec[]> {
  const all = new Map([...files, [watchPath, Buffer.from(watchSource())], [entryPath, Buffer.from(entrySource)]]);
  await using folder = await writing(tmpdir(), () => unpackTemporary(all));
  const reads = new Set<string>();
  const logger = readsLogger(reads);
  const given = env.filter((name) => environment[name] !== undefined);
  const settings = { dir: folder.dir, entry: entryPath, label };
  await using isolate = new Isolate({ ...settings, logger, grants: { env: given }, environment });
  let workflows: readonly WorkflowSpec[];
  try {
    workflows = await isolate.describe();
  } catch (error) {
    if (!(error instanceof CloacinaError)) throw error;
    throw buildError(error, label, basename(folder.dir), (message) => missingText(message, reads, env, environment));
  }
  if (given.length > 0) await compareWithout(given, settings, workflows);
  return workflows;
}

/** The graphs of a version must be equal on all machines, and runners have other values than the packing machine. */
async function compareWithout(
  given: readonly string[],
  settings: { readonly dir: string; readonly entry: string; readonly label: string },
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

/**
 * The suffix of a message of code that did not load: the environment names that it read and that were not set. Libraries
 * read many optional names, so names that appear in the message take precedence.
 */
function missingText(
  message: string,
  reads: ReadonlySet<string>,
  asked: readonly string[],
  environment: Environment,
): string {
  const isListed = reads.has('*');
  const unset = asked.filter((name) => environment[name] === undefined);
  const missing = [...new Set([...[...reads].filter((name) => name !== '*'), ...(isListed ? unset : [])])];
  const named = missing.filter((name) => message.includes(name));
  const meant = (named.length > 0 ? named : missing).slice(0, maxNamed);
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
  missing: (message: string) => string,
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
  const message = `${label} does not load: ${place}${thrown.message}${missing(thrown.message)}`;
  return new CloacinaError('BUILD_FAILED', message, { cause: thrown });
}

/** The place of an error in the sources, as `src/index.ts:3:7: `; '' if the stack has no frame of the package. */
function placeIn(stack: string, folder: string): string {
  const frame = new RegExp(`${folder}[/\\\\]source[/\\\\](.+:\\d+:\\d+)\\)?$`, 'm').exec(stack)?.[1];
  return frame === undefined ? '' : `${frame.replaceAll('\\', '/')}: `;
}

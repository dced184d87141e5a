import { tmpdir } from 'node:os';
import { basename } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CloacinaError } from '../core/error.ts';
import type { WorkflowSpec } from '../core/definition/spec.ts';
import { stderrLogger } from '../engine/logger.ts';
import type { Logger } from '../engine/logger.ts';
import type { BundledCode } from '../package/pack/build.ts';
import type { PackageMemory } from '../options.ts';
import { Isolate } from '../package/isolate/isolate.ts';
import type { IsolateOptions } from '../package/isolate/isolate.ts';
import { unpackTemporary } from '../package/load/unpack.ts';
import { ownFile } from '../own-files.ts';
import { watchMark } from './environment-watch.ts';
import { loadFailure } from './load-failure.ts';
import type { Environment } from './load-failure.ts';
import { writing } from './arguments.ts';

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
  { label, files, env, nativePackages, warnings }: BundledCode,
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
    const surroundings = {
      label,
      folder: basename(folder.dir),
      reads,
      asked: env,
      environment,
      nativePackages,
      warnings,
    };
    throw loadFailure(error, surroundings);
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

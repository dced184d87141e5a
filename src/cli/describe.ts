import { tmpdir } from 'node:os';
import { basename } from 'node:path';
import { CloacinaError } from '../core/error.ts';
import type { ErrorCode } from '../core/error-table.ts';
import type { WorkflowSpec } from '../core/spec.ts';
import { stderrLogger } from '../engine/logger.ts';
import type { BundledCode } from '../package/build.ts';
import { Isolate } from '../package/isolate/host.ts';
import { unpackTemporary } from '../package/unpack.ts';
import { writing } from './given.ts';

/**
 * Loads a bundle in an isolate, out of a temporary folder, and gives the workflows it exports. Throws FILE_UNWRITABLE,
 * BUILD_FAILED where it does not load, DEFINITION_INVALID and others where it breaks a rule.
 */
export async function describeInIsolate({ label, files }: BundledCode): Promise<readonly WorkflowSpec[]> {
  await using folder = await writing(tmpdir(), () => unpackTemporary(files));
  await using isolate = new Isolate({ dir: folder.dir, label, logger: stderrLogger });
  try {
    return await isolate.describe();
  } catch (error) {
    throw error instanceof CloacinaError ? buildError(error, label, basename(folder.dir)) : error;
  }
}

/** The rules of definitions, which their author has broken. */
const ruleCodes: ReadonlySet<unknown> = new Set<ErrorCode>([
  'DEFINITION_INVALID',
  'OPTION_INVALID',
  'SCHEDULE_INVALID',
  'NOT_SERIALIZABLE',
  'PAYLOAD_TOO_LARGE',
]);

function buildError(error: CloacinaError, label: string, folder: string): CloacinaError {
  const thrown = error.cause;
  if (!(thrown instanceof Error)) return new CloacinaError('BUILD_FAILED', error.message, { cause: error });
  const place = placeIn(thrown.stack ?? '', folder);
  const code: unknown = Reflect.get(thrown, 'code');
  if (ruleCodes.has(code)) {
    return new CloacinaError(code as ErrorCode, `${place}${thrown.message}`, { cause: thrown });
  }
  return new CloacinaError('BUILD_FAILED', `${label} does not load: ${place}${thrown.message}`, { cause: thrown });
}

/** Where in the sources of the package something was thrown, as `src/index.ts:3:7: `; '' where its code was not there. */
function placeIn(stack: string, folder: string): string {
  const frame = new RegExp(`${folder}[/\\\\]source[/\\\\](.+:\\d+:\\d+)\\)?$`, 'm').exec(stack)?.[1];
  return frame === undefined ? '' : `${frame.replaceAll('\\', '/')}: `;
}

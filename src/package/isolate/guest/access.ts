import type { TaskError } from '../../../core/task-error.ts';

/** The end of the message of an access that the isolation refuses. */
export const isolationPage = "see 'Isolation' in docs/packages.md";

/** By the permission of Node that is missing. */
const refusals: Readonly<Record<string, string>> = {
  FileSystemRead: 'a package may read its own files only',
  FileSystemWrite: 'a package may not write files',
  ChildProcess: 'a package may not start processes',
  WorkerThreads: 'a package may not start worker threads',
  WASI: 'a package may not use WASI',
  Inspector: 'a package may not open the inspector',
  Net: 'a package may use the network only if it asks for the permission net',
};

/**
 * Replaces Node's messages about missing permissions, in an error and in all that it holds: Node names an option of its
 * own command line, which an author of a package cannot give, and no path.
 */
export function explained(error: TaskError): TaskError {
  const { cause, errors } = error;
  return {
    ...error,
    ...inWords(error),
    ...(cause === undefined ? {} : { cause: explained(cause) }),
    ...(errors === undefined ? {} : { errors: errors.map(explained) }),
  };
}

function inWords(error: TaskError): Pick<TaskError, 'message' | 'stack'> | null {
  const { message, stack, resource } = error;
  const refusal = refusalOf(error);
  if (refusal === undefined) return null;
  const text = `${refusal}${resource === undefined ? '' : `: ${resource}`}; ${isolationPage}`;
  return stack === undefined ? { message: text } : { message: text, stack: stack.replace(message, () => text) };
}

function refusalOf({ code, message, permission = '' }: TaskError): string | undefined {
  if (code === 'ERR_DLOPEN_DISABLED') return 'a package may not load native modules';
  if (code !== 'ERR_ACCESS_DENIED') return undefined;
  const api = /^(fs\.\w+) API requires /.exec(message)?.[1];
  if (api !== undefined) return `a package may not use ${api}`;
  return message.startsWith('Access to this API has been restricted') ? refusals[permission] : undefined;
}

/**
 * Every error Cloacina raises, in one table. A code is for ever: scripts and stored executions name it.
 * `exit` is the exit code of the CLI: 1 the operation failed, 2 usage, 3 not found, 4 not allowed, 5 conflict,
 * 6 unavailable. `docs/errors.md` is generated from this table and a test keeps the two the same.
 */
export interface ErrorRow {
  readonly exit: 1 | 2 | 3 | 4 | 5 | 6;
  readonly meaning: string;
  readonly remedy: string;
}

export const errorTable = {
  // definitions
  DEFINITION_INVALID: row(
    2,
    'A workflow definition breaks a rule of the graph: a cycle, a duplicate name, an unknown need, an option out of range.',
    'Change the definition as the message says; it names the tasks.',
  ),
  OPTION_INVALID: row(
    2,
    'An option has a value outside of what it accepts.',
    'Use a value of the form that the message gives.',
  ),
  USAGE: row(
    2,
    'The command line could not be understood.',
    'See `cloacina --help` or `cloacina <noun> <verb> --help`.',
  ),
  NODE_TOO_OLD: row(2, 'This Node is older than the engine needs.', 'Install the Node version that the message names.'),
  // values
  INPUT_INVALID: row(
    1,
    'The input does not fit the schema of the workflow. No execution was created, or the execution failed before its first task.',
    'Correct the input at the paths listed under `issues`.',
  ),
  NOT_SERIALIZABLE: row(
    1,
    'A value that must be stored is not JSON.',
    'Return plain JSON; the message names the path and what was found there.',
  ),
  PAYLOAD_TOO_LARGE: row(
    1,
    'A value that must be stored is larger than `maxPayload`.',
    'Store the large value elsewhere and pass a reference, or raise `maxPayload`.',
  ),
  // executions
  WORKFLOW_NOT_FOUND: row(
    3,
    'No workflow of this name is registered or embedded.',
    'Check the name against `cloacina workflow list`; near names are in the message.',
  ),
  AMBIGUOUS_WORKFLOW: row(
    5,
    'Several packages have a workflow of this name.',
    'Use the long name, `package/workflow`.',
  ),
  EXECUTION_NOT_FOUND: row(
    3,
    'No execution has this id.',
    'Check the id; ended executions are removed after their retention.',
  ),
  EXECUTION_FAILED: row(
    1,
    'An execution ended failed or cancelled.',
    'Look at its error and events: `cloacina execution show ID`.',
  ),
  EXECUTION_ENDED: row(
    5,
    'The execution has ended, so it takes no more mail.',
    'Look at how it ended: `cloacina execution show ID`; a failed or cancelled one can be retried.',
  ),
  IDEMPOTENCY_CONFLICT: row(
    5,
    'The idempotency key was used before with another input.',
    'Use another key, or the same input.',
  ),
  OUTPUT_SKIPPED: row(
    1,
    'The task whose output the workflow returns was skipped.',
    'Return `settled(task)` if the output may be missing.',
  ),
  TASK_FAILED: row(
    1,
    'A task threw an error without a code of its own.',
    'Look at the message, the stack and the cause.',
  ),
  TASK_TIMED_OUT: row(
    1,
    'An attempt of a task took longer than its timeout.',
    'Raise the timeout, or make the task end on `ctx.signal`.',
  ),
  TASK_INTERRUPTED: row(
    1,
    'A task with one attempt was cut by a crash, a shutdown or a lost lease.',
    'See what it had done, then retry the execution.',
  ),
  TASK_CRASHED_RUNNER: row(
    1,
    'A task ended the process that ran it, as often as it has attempts.',
    'Look for exhausted memory, native crashes, process.exit and endless loops in it.',
  ),
  TASK_CANCELLED: row(
    1,
    'An attempt was aborted since its execution was cancelled.',
    'Nothing, if the cancel was meant.',
  ),
  // database
  DATABASE_URL_INVALID: row(
    2,
    'The database URL is not of a known form.',
    'Use `sqlite:./path/to/file.db` or `sqlite::memory:`.',
  ),
  DATABASE_INVALID: row(
    1,
    'The file is not a database of Cloacina, or it is damaged.',
    'Check the path; restore a backup if the file is damaged.',
  ),
  DATABASE_READ_ONLY: row(
    6,
    'The database can be read but not written.',
    'Give the process write access to the file and its folder.',
  ),
  DATABASE_TOO_NEW: row(
    1,
    'The database was migrated by a newer Cloacina.',
    'Upgrade this installation to at least the version that migrated it.',
  ),
  STORE_UNAVAILABLE: row(
    6,
    'The database did not take a change in time. Nothing that was acknowledged is lost.',
    'See why the database is away (disk full, locked by another process, no permission); work goes on by itself when it is back.',
  ),
  STORE_REFUSED: row(
    1,
    'The database refuses what an execution wants to store, and always will.',
    'Look at the message; it names what the database said.',
  ),
  OUTCOME_UNKNOWN: row(
    6,
    'A start was sent to the database and its outcome is unknown.',
    'Ask for the execution by the id in the message before starting it again.',
  ),
  RUNNER_CLOSED: row(6, 'The runner or client is closed or closing.', 'Open a new one.'),
  CONFLICT: row(
    5,
    'Somebody else changed the same thing at the same time.',
    'Read it again and repeat the change if it still holds.',
  ),
  // archives
  ARCHIVE_CORRUPT: row(
    1,
    'The file is not a complete, well-formed `.cloacina` archive.',
    'Copy or build the file again.',
  ),
  ARCHIVE_TOO_LARGE: row(
    1,
    'The archive is over a limit: 50 MB packed, 500 MB or 10,000 entries unpacked, or a ratio of 200:1.',
    'Take large assets out of the package.',
  ),
  ARCHIVE_ENTRY_REFUSED: row(
    1,
    'The archive holds an entry that is not allowed.',
    'Build the file with `cloacina package pack`; `path` and `reason` say which entry and why.',
  ),
  ARCHIVE_NOT_CANONICAL: row(
    1,
    'The archive is not the one canonical form of its content.',
    'Build the file with `cloacina package pack`.',
  ),
  MANIFEST_MISSING: row(
    1,
    'The archive does not begin with manifest.json.',
    'Build the file with `cloacina package pack`.',
  ),
  MANIFEST_INVALID: row(
    1,
    'manifest.json breaks its schema.',
    'Build the file with `cloacina package pack`; `problems` lists every fault with its path.',
  ),
  FORMAT_UNSUPPORTED: row(
    1,
    'The archive has a format version that this Cloacina does not read.',
    'Upgrade Cloacina, or build the package with this version.',
  ),
  ENGINE_UNSUPPORTED: row(
    1,
    'The package asks for another version of Cloacina or Node.',
    'Run it with versions in the ranges that the message names.',
  ),
  FILE_HASH_MISMATCH: row(
    1,
    'A file in the archive has another hash than the manifest says.',
    'Copy or build the file again.',
  ),
  DIGEST_MISMATCH: row(
    1,
    'Stored bytes have another digest than the registry says. They were not run.',
    'Restore the package bytes from a backup, or publish a new version.',
  ),
  PROJECT_INVALID: row(
    1,
    'The folder is not a project that can be packed.',
    'Give it a package.json with name, version and "cloacina": { "entry": ... }.',
  ),
  BUILD_FAILED: row(
    1,
    'The entry of the package does not build or does not load.',
    'Correct the source at the file and line in the message.',
  ),
  NO_WORKFLOWS: row(
    1,
    'The entry of the package exports no workflow.',
    'Export a workflow from the entry, by name or as default.',
  ),
  FILE_UNREADABLE: row(3, 'A file that the command names cannot be read.', 'Check the path and the permissions.'),
  FILE_UNWRITABLE: row(
    1,
    'A file or folder that the command names cannot be written.',
    'Check the path, the permissions and the space on the disk.',
  ),
  TARGET_EXISTS: row(5, 'The folder or file to create exists.', 'Choose another place, or remove what is there.'),
  // registry
  PACKAGE_EXISTS: row(
    5,
    'This version was published with other bytes; a version is immutable.',
    'Raise the version in package.json.',
  ),
  PACKAGE_DELETED: row(
    5,
    'This version existed and was deleted; its number is never used again.',
    'Raise the version in package.json.',
  ),
  PACKAGE_NOT_FOUND: row(3, 'The registry has no such package or version.', 'See `cloacina package list`.'),
  PACKAGE_IN_USE: row(
    5,
    'Executions that have not ended are pinned to this package.',
    'Wait until they end, or cancel them.',
  ),
  PACKAGE_ACTIVE: row(
    5,
    'This version is what a channel points to.',
    'Activate another version first, or unregister the whole package by its name.',
  ),
  PACKAGE_UNAVAILABLE: row(
    5,
    'The version takes no new executions: it was yanked, or quarantined since it crashed its isolate again and again.',
    'Activate another version, or roll back; activating a quarantined version again gives it another chance.',
  ),
  PACKAGE_LOAD_FAILED: row(
    1,
    'The code of a package did not load, or does not export what its manifest says.',
    'Look at the message; build the package again.',
  ),
  ISOLATE_EXITED: row(
    1,
    'The process that ran the code of a package ended while a task was running.',
    'Look for process.exit, exhausted memory and native crashes in the package.',
  ),
  REGISTRY_URL_INVALID: row(2, 'The registry URL is not of a known form.', 'Use `file:./path/to/folder`.'),
  REGISTRY_ABSENT: row(
    2,
    'This client or runner was opened without a registry.',
    'Give the option `registry`, for example `file:./packages`.',
  ),
  // schedules
  SCHEDULE_INVALID: row(
    2,
    'A schedule has a bad cron expression, time zone, date or policy.',
    'Correct the field that the message names.',
  ),
  SCHEDULE_EXISTS: row(
    5,
    'A schedule of this name exists with other settings.',
    'Change it with `update`, or choose another name.',
  ),
  SCHEDULE_NOT_FOUND: row(3, 'No schedule has this name.', 'See `cloacina schedule list`.'),
  AMBIGUOUS_SCHEDULE: row(5, 'Several owners have a schedule of this name.', 'Use the long name, `owner/name`.'),
  // anything else
  INTERNAL: row(1, 'A bug in Cloacina.', 'Please report it with the stack.'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

function row(exit: ErrorRow['exit'], meaning: string, remedy: string): ErrorRow {
  return { exit, meaning, remedy };
}

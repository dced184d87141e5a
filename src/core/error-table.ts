/**
 * Every error that Cloacina raises, in one table. A code never changes: scripts and stored executions name it. `exit`
 * is the exit code of the CLI: 1 the operation failed, 2 usage, 3 not found, 4 not allowed, 5 conflict, 6 unavailable.
 * `docs/errors.md` is generated from this table and a test keeps the two equal.
 */
export interface ErrorRow {
  readonly exit: 1 | 2 | 3 | 4 | 5 | 6;
  readonly meaning: string;
  readonly remedy: string;
}

const rows = {
  // definitions
  DEFINITION_INVALID: {
    exit: 2,
    meaning:
      'A workflow definition breaks a rule of the graph: a cycle, a duplicate name, an unknown need, an option out of range.',
    remedy: 'Change the definition as the message says; it names the tasks.',
  },
  OPTION_INVALID: {
    exit: 2,
    meaning: 'An option has a value outside of what it accepts.',
    remedy: 'Use a value of the form that the message gives.',
  },
  USAGE: {
    exit: 2,
    meaning: 'The command line could not be understood.',
    remedy: 'See `cloacina --help` or `cloacina <noun> <verb> --help`.',
  },
  NODE_TOO_OLD: {
    exit: 2,
    meaning: 'This Node is older than the engine needs.',
    remedy: 'Install the Node version that the message names.',
  },
  // values
  INPUT_INVALID: {
    exit: 1,
    meaning:
      'The input does not fit the schema of the workflow. No execution was created, or the execution failed before its first task.',
    remedy: 'Correct the input at the paths listed under `issues`.',
  },
  NOT_SERIALIZABLE: {
    exit: 1,
    meaning: 'A value that must be stored is not JSON.',
    remedy: 'Return plain JSON; the message names the path and what was found there.',
  },
  PAYLOAD_TOO_LARGE: {
    exit: 1,
    meaning: 'A value that must be stored is larger than `maxPayload`.',
    remedy: 'Store the large value elsewhere and pass a reference, or raise `maxPayload`.',
  },
  MAP_TOO_LARGE: {
    exit: 1,
    meaning: 'The `over` of a map gave more than 100,000 items, or more than 32 MiB of JSON in all.',
    remedy: 'Let an item stand for a batch, pass references to large values, or split the work over child workflows.',
  },
  OUTPUT_TOO_LARGE: {
    exit: 1,
    meaning: 'The outputs of the items of a map have more than 134,217,728 characters of JSON together.',
    remedy: 'Store large values elsewhere and return references from the items.',
  },
  // executions
  WORKFLOW_NOT_FOUND: {
    exit: 3,
    meaning: 'No workflow of this name is registered or embedded.',
    remedy: 'Check the name against `cloacina workflow list`; near names are in the message.',
  },
  AMBIGUOUS_WORKFLOW: {
    exit: 5,
    meaning: 'Several packages have a workflow of this name.',
    remedy: 'Use the long name, `package/workflow`.',
  },
  EXECUTION_NOT_FOUND: {
    exit: 3,
    meaning: 'No execution has this id.',
    remedy: 'Check the id; ended executions are removed after their retention.',
  },
  EXECUTION_FAILED: {
    exit: 1,
    meaning: 'An execution ended failed or cancelled.',
    remedy: 'Look at its error and events: `cloacina execution show ID`.',
  },
  EXECUTION_ENDED: {
    exit: 5,
    meaning: 'The execution has ended, so it takes no more mail.',
    remedy: 'Look at how it ended: `cloacina execution show ID`; a failed or cancelled one can be retried.',
  },
  EXECUTION_STATE: {
    exit: 5,
    meaning: 'The execution is in a state in which this cannot be asked of it.',
    remedy: 'Look at its state: `cloacina execution show ID`; the message says which state it takes.',
  },
  SIGNAL_UNKNOWN: {
    exit: 3,
    meaning: 'No task of the execution waits, or will wait, for a signal of this name.',
    remedy: 'Use one of the names in the message.',
  },
  SIGNAL_INVALID: {
    exit: 1,
    meaning: 'The payload of a signal does not fit the schema of the tasks that wait for it. It was not sent.',
    remedy: 'Correct the payload at the paths listed under `issues`.',
  },
  TASK_NOT_FOUND: {
    exit: 3,
    meaning: 'The workflow has no task of this name.',
    remedy: 'Check the name against `cloacina workflow show NAME`; near names are in the message.',
  },
  IDEMPOTENCY_CONFLICT: {
    exit: 5,
    meaning: 'The idempotency key was used before with another input.',
    remedy: 'Use another key, or the same input.',
  },
  OUTPUT_SKIPPED: {
    exit: 1,
    meaning: 'The task whose output the workflow returns was skipped.',
    remedy: 'Return `settled(task)` if the output may be missing.',
  },
  TASK_FAILED: {
    exit: 1,
    meaning: 'A task threw an error without a code of its own.',
    remedy: 'Look at the message, the stack and the cause.',
  },
  TASK_TIMED_OUT: {
    exit: 1,
    meaning: 'An attempt of a task took longer than its timeout.',
    remedy: 'Raise the timeout, or make the task end on `ctx.signal`.',
  },
  TASK_INTERRUPTED: {
    exit: 1,
    meaning: 'A task with one attempt was cut by a crash, a shutdown or a lost lease.',
    remedy: 'See what it had done, then retry the execution.',
  },
  TASK_CRASHED_RUNNER: {
    exit: 1,
    meaning: 'A task ended the process that ran it, as often as it has attempts.',
    remedy: 'Look for exhausted memory, native crashes, process.exit and endless loops in it.',
  },
  TASK_CANCELLED: {
    exit: 1,
    meaning: 'An attempt was aborted since its execution was cancelled.',
    remedy: 'Nothing, if the cancel was meant.',
  },
  DEFINITION_CHANGED: {
    exit: 1,
    meaning:
      'An execution is held: its workflow has another definition by now, under which it cannot go on, and no living runner has the old one.',
    remedy: 'Start a runner with the old definition, or retry, fork or cancel the execution.',
  },
  CRASH_LOOP: {
    exit: 1,
    meaning:
      'An execution is held: five runners ended while they loaded it or called its `when`, `over`, `input`, `until` or a schema.',
    remedy:
      'Look for process.exit, native crashes and endless loops in these functions, at the size of its data and at the memory of the runners, then resume or cancel it.',
  },
  // database
  DATABASE_URL_INVALID: {
    exit: 2,
    meaning: 'The database URL is not of a known form.',
    remedy:
      'Use `sqlite:./path/to/file.db`, `sqlite::memory:` or `postgres://user:password@host/database?schema=name`, with special characters of the password percent-encoded.',
  },
  DATABASE_DRIVER_MISSING: {
    exit: 2,
    meaning: 'The package that speaks to this kind of database is not installed.',
    remedy: 'Install the package that the message names.',
  },
  DATABASE_INVALID: {
    exit: 1,
    meaning: 'The file is not a database of Cloacina, or it is damaged.',
    remedy: 'Check the path; restore a backup if the file is damaged.',
  },
  ROW_DAMAGED: {
    exit: 1,
    meaning: 'A row of the database holds something that no Cloacina wrote. The rest of the database is used on.',
    remedy: 'Restore the row that the message names from a backup, or remove what it describes and add it again.',
  },
  DATABASE_READ_ONLY: {
    exit: 6,
    meaning: 'The database can be read but not written.',
    remedy: 'Give the process write access to the file and its folder.',
  },
  DATABASE_REPLACED: {
    exit: 6,
    meaning:
      'The SQLite file, its `-wal` or `-shm` file or its folder was deleted, moved or replaced while it was open. Nothing was acknowledged after that.',
    remedy:
      'Stop every process on the file, put back what belongs there, and start again. Never use another SQLite library on the file in the same process.',
  },
  DATABASE_TOO_NEW: {
    exit: 1,
    meaning: 'The database was migrated by a newer Cloacina.',
    remedy: 'Upgrade this installation to at least the version that migrated it.',
  },
  STORE_UNAVAILABLE: {
    exit: 6,
    meaning: 'The database did not take a change in time. Nothing that was acknowledged is lost.',
    remedy:
      'See why the database is away (not running, no such database, a wrong password, a full disk, locked by another process, no permission); work goes on by itself when it is back.',
  },
  STORE_REFUSED: {
    exit: 1,
    meaning: 'The database refuses what an execution wants to store, or cannot take that much at once.',
    remedy: 'Look at the message; it names what the database said. Return references to large values.',
  },
  OUTCOME_UNKNOWN: {
    exit: 6,
    meaning: 'A change was sent to the database, its answer was lost, and whether it was made is not known.',
    remedy: 'Look before asking for it again: a start names the id of its execution in the message.',
  },
  TRANSACTION_INVALID: {
    exit: 2,
    meaning: 'What was given as a transaction is none that is known, or is not open.',
    remedy: 'Give the client or transaction object in which you began, and await each statement before you end it.',
  },
  TRANSACTION_ENDED: {
    exit: 1,
    meaning: 'A transaction that the engine opened for a function was ended by somebody else, or used after its end.',
    remedy: 'Leave begin, commit, rollback and close to the engine, and keep nothing of the connection.',
  },
  TRANSACTION_ASYNC: {
    exit: 1,
    meaning: 'A function that runs as a transaction on SQLite gave a promise. Nothing was written.',
    remedy: 'Do what takes time before or after it; within it only synchronous calls.',
  },
  TRANSACTION_UNAVAILABLE: {
    exit: 2,
    meaning: 'There is no transaction of this kind here: it depends on the database, and a task of a package has none.',
    remedy: 'Use the way that the message names.',
  },
  RUNNER_CLOSED: { exit: 6, meaning: 'The runner or client is closed or closing.', remedy: 'Open a new one.' },
  CONFLICT: {
    exit: 5,
    meaning: 'Somebody else changed the same thing at the same time.',
    remedy: 'Read it again and repeat the change if it still holds.',
  },
  // archives
  ARCHIVE_CORRUPT: {
    exit: 1,
    meaning: 'The file is not a complete, well-formed `.cloacina` archive.',
    remedy: 'Copy or build the file again.',
  },
  ARCHIVE_TOO_LARGE: {
    exit: 1,
    meaning: 'The archive is over a limit: 50 MB packed, 500 MB or 10,000 entries unpacked, or a ratio of 200:1.',
    remedy: 'Take large assets out of the package.',
  },
  ARCHIVE_ENTRY_REFUSED: {
    exit: 1,
    meaning: 'The archive holds an entry that is not allowed.',
    remedy: 'Build the file with `cloacina package pack`; `path` and `reason` say which entry and why.',
  },
  ARCHIVE_NOT_CANONICAL: {
    exit: 1,
    meaning: 'The archive is not the one canonical form of its content.',
    remedy: 'Build the file with `cloacina package pack`.',
  },
  MANIFEST_MISSING: {
    exit: 1,
    meaning: 'The archive does not begin with manifest.json.',
    remedy: 'Build the file with `cloacina package pack`.',
  },
  MANIFEST_INVALID: {
    exit: 1,
    meaning: 'manifest.json breaks its schema, or is over a limit.',
    remedy: 'Build the file with `cloacina package pack`; `problems` lists every fault with its path.',
  },
  FORMAT_UNSUPPORTED: {
    exit: 1,
    meaning: 'The archive has a format version that this Cloacina does not read.',
    remedy: 'Upgrade Cloacina, or build the package with this version.',
  },
  ENGINE_UNSUPPORTED: {
    exit: 1,
    meaning: 'The package asks for another version of Cloacina, of its guest interface, or of Node.',
    remedy: 'Run it with the versions that the message names; a package of a newer Cloacina needs that one.',
  },
  PERMISSION_NOT_GRANTED: {
    exit: 4,
    meaning: 'The package asks for environment names that this runner does not grant. It is not loaded there.',
    remedy: 'Grant them by `--allow-env` or the option `grants` of `Runner.open`, if the package should have them.',
  },
  FILE_HASH_MISMATCH: {
    exit: 1,
    meaning: 'A file in the archive has another hash than the manifest says.',
    remedy: 'Copy or build the file again.',
  },
  DIGEST_MISMATCH: {
    exit: 1,
    meaning: 'Stored bytes have another digest than the registry says. They were not run.',
    remedy: 'Restore the package bytes from a backup, or publish a new version.',
  },
  PROJECT_INVALID: {
    exit: 1,
    meaning: 'The folder is not a project that can be packed.',
    remedy: 'Give it a package.json with name, version and "cloacina": { "entry": ... }.',
  },
  BUILD_FAILED: {
    exit: 1,
    meaning: 'The entry of the package does not build or does not load.',
    remedy: 'Correct the source at the file and line in the message, or give the code the environment that it names.',
  },
  NO_WORKFLOWS: {
    exit: 1,
    meaning: 'The entry of the package exports no workflow.',
    remedy: 'Export a workflow from the entry, by name or as default.',
  },
  FILE_UNREADABLE: {
    exit: 3,
    meaning: 'A file that the command names cannot be read.',
    remedy: 'Check the path and the permissions.',
  },
  FILE_UNWRITABLE: {
    exit: 1,
    meaning: 'A file or folder that the command names cannot be written.',
    remedy: 'Check the path, the permissions and the space on the disk.',
  },
  TARGET_EXISTS: {
    exit: 5,
    meaning: 'The folder or file to create exists.',
    remedy: 'Choose another place, or remove what is there.',
  },
  // registry
  PACKAGE_EXISTS: {
    exit: 5,
    meaning: 'This version was published with other bytes; a version is immutable.',
    remedy: 'Raise the version in package.json.',
  },
  PACKAGE_DELETED: {
    exit: 5,
    meaning: 'This version existed and was deleted; its number is never used again.',
    remedy: 'Raise the version in package.json.',
  },
  PACKAGE_NOT_FOUND: {
    exit: 3,
    meaning: 'The registry has no such package or version.',
    remedy: 'See `cloacina package list`.',
  },
  PACKAGE_IN_USE: {
    exit: 5,
    meaning: 'Executions that have not ended are pinned to this package.',
    remedy: 'Wait until they end, or cancel them.',
  },
  PACKAGE_ACTIVE: {
    exit: 5,
    meaning: 'This version is what a channel points to.',
    remedy: 'Activate another version first, or unregister the whole package by its name.',
  },
  PACKAGE_UNAVAILABLE: {
    exit: 5,
    meaning:
      'The version takes no new executions: it was yanked, or quarantined since it crashed its isolate again and again.',
    remedy: 'Activate another version, or roll back; activating a quarantined version again gives it another chance.',
  },
  PACKAGE_LOAD_FAILED: {
    exit: 1,
    meaning: 'The code of a package did not load, or does not export what its manifest says.',
    remedy: 'Look at the message; build the package again.',
  },
  ISOLATE_EXITED: {
    exit: 1,
    meaning: 'The process that ran the code of a package ended while a task was running.',
    remedy: 'Look for process.exit, exhausted memory and native crashes in the package.',
  },
  REGISTRY_URL_INVALID: {
    exit: 2,
    meaning: 'The registry URL is not of a known form.',
    remedy: 'Use `file:./path/to/folder`.',
  },
  REGISTRY_ABSENT: {
    exit: 2,
    meaning: 'This client or runner was opened without a registry.',
    remedy: 'Give the option `registry`, for example `file:./packages`.',
  },
  // schedules
  SCHEDULE_INVALID: {
    exit: 2,
    meaning: 'A schedule has a bad cron expression, time zone, date or policy.',
    remedy: 'Correct the field that the message names.',
  },
  SCHEDULE_EXISTS: {
    exit: 5,
    meaning: 'A schedule of this name exists with other settings.',
    remedy: 'Change it with `update`, or choose another name.',
  },
  SCHEDULE_NOT_FOUND: { exit: 3, meaning: 'No schedule has this name.', remedy: 'See `cloacina schedule list`.' },
  AMBIGUOUS_SCHEDULE: {
    exit: 5,
    meaning: 'Several owners have a schedule of this name.',
    remedy: 'Use the long name, `owner/name`.',
  },
  // anything else
  INTERNAL: { exit: 1, meaning: 'A bug in Cloacina.', remedy: 'Please report it with the stack.' },
} as const;

export type ErrorCode = keyof typeof rows;

export const errorTable: { readonly [Code in ErrorCode]: ErrorRow } = rows;

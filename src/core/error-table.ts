/**
 * One error of the table. `exit` is the exit code of the CLI: 1 operation failed, 2 usage, 3 not found, 4 not allowed,
 * 5 conflict, 6 unavailable.
 */
export interface ErrorRow {
  readonly exit: 1 | 2 | 3 | 4 | 5 | 6;
  readonly meaning: string;
  readonly remedy: string;
}

/**
 * Every error that Cloacina raises. A code never changes, because scripts and stored executions contain it.
 * `docs/errors.md` is generated from this table.
 */
const rows = {
  // definitions
  DEFINITION_INVALID: {
    exit: 2,
    meaning:
      'A workflow definition breaks a rule of the graph: a cycle, a duplicate name, an unknown need, or an option out of range.',
    remedy: 'Correct the definition; the message names the tasks.',
  },
  OPTION_INVALID: {
    exit: 2,
    meaning: 'The value of an option is not allowed.',
    remedy: 'Use a value that the message describes.',
  },
  USAGE: {
    exit: 2,
    meaning: 'The command line is not valid.',
    remedy: 'See `cloacina --help` or `cloacina <noun> <verb> --help`.',
  },
  NODE_TOO_OLD: {
    exit: 2,
    meaning: 'This version of Node is too old for the engine.',
    remedy: 'Install the Node version that the message names.',
  },
  // values
  INPUT_INVALID: {
    exit: 1,
    meaning:
      'The input does not match the schema of the workflow. No execution was created, or the execution failed before its first task.',
    remedy: 'Correct the input at the paths listed in `issues`.',
  },
  NOT_SERIALIZABLE: {
    exit: 1,
    meaning: 'A value to store is not JSON.',
    remedy: 'Return plain JSON; the message names the path and the value.',
  },
  PAYLOAD_TOO_LARGE: {
    exit: 1,
    meaning: 'A value to store is larger than `maxPayload`.',
    remedy: 'Store the large value elsewhere and pass a reference, or raise `maxPayload`.',
  },
  MAP_TOO_LARGE: {
    exit: 1,
    meaning: '`over` of a map returned more than 100,000 items or more than 32 MiB of JSON.',
    remedy: 'Let one item cover a batch, pass references to large values, or split the work over child workflows.',
  },
  OUTPUT_TOO_LARGE: {
    exit: 1,
    meaning: 'The item outputs of a map have more than 134,217,728 characters of JSON in total.',
    remedy: 'Store large values elsewhere and return references from the items.',
  },
  TOO_MANY_CHILDREN: {
    exit: 1,
    meaning: 'Children are nested more than 32 deep, or one root execution has 10,000 open descendants.',
    remedy:
      'Look for a workflow that starts itself without an end. For a family that is meant to be so large, raise `maxChildDepth` or `maxOpenChildren` of the runner.',
  },
  // executions
  WORKFLOW_NOT_FOUND: {
    exit: 3,
    meaning: 'No workflow with this name is registered or embedded.',
    remedy: 'Check the name with `cloacina workflow list`; the message lists similar names.',
  },
  AMBIGUOUS_WORKFLOW: {
    exit: 5,
    meaning: 'Several packages contain a workflow with this name.',
    remedy: 'Use the full name, `package/workflow`.',
  },
  EXECUTION_NOT_FOUND: {
    exit: 3,
    meaning: 'No execution has this id.',
    remedy: 'Check the id. Ended executions are removed after their retention.',
  },
  EXECUTION_FAILED: {
    exit: 1,
    meaning: 'An execution failed or was cancelled.',
    remedy: 'Read its error and events: `cloacina execution show ID`.',
  },
  EXECUTION_ENDED: {
    exit: 5,
    meaning: 'The execution has ended and accepts no more signals or commands.',
    remedy: 'Check how it ended: `cloacina execution show ID`. A failed or cancelled execution can be retried.',
  },
  EXECUTION_STATE: {
    exit: 5,
    meaning: 'The current state of the execution does not allow this operation.',
    remedy: 'Check its state: `cloacina execution show ID`. The message names the states that allow the operation.',
  },
  SIGNAL_UNKNOWN: {
    exit: 3,
    meaning: 'No task of the execution waits, or will wait, for a signal with this name.',
    remedy: 'Use one of the names in the message.',
  },
  SIGNAL_INVALID: {
    exit: 1,
    meaning:
      'The payload of a signal does not match the schema of the tasks that wait for it. The signal was not sent.',
    remedy: 'Correct the payload at the paths listed in `issues`.',
  },
  TASK_NOT_FOUND: {
    exit: 3,
    meaning: 'The workflow has no task with this name.',
    remedy: 'Check the name with `cloacina workflow show NAME`; the message lists similar names.',
  },
  IDEMPOTENCY_CONFLICT: {
    exit: 5,
    meaning: 'The idempotency key was already used with a different input.',
    remedy: 'Use another key or the same input.',
  },
  OUTPUT_SKIPPED: {
    exit: 1,
    meaning: 'The task that provides the output of the workflow was skipped.',
    remedy: 'Return `settled(task)` if the output may be missing.',
  },
  TASK_FAILED: {
    exit: 1,
    meaning: 'A task threw an error that has no code.',
    remedy: 'Read the message, the stack and the cause.',
  },
  TASK_TIMED_OUT: {
    exit: 1,
    meaning: 'An attempt of a task took longer than its timeout.',
    remedy: 'Raise the timeout, or make the task stop when `ctx.signal` fires.',
  },
  TASK_INTERRUPTED: {
    exit: 1,
    meaning: 'A crash, a shutdown or a lost lease interrupted the only attempt of a task.',
    remedy: 'Check what the task has already done, then retry the execution.',
  },
  TASK_CRASHED_RUNNER: {
    exit: 1,
    meaning: 'A task crashed the process that ran it, in each of its attempts.',
    remedy: 'Look for exhausted memory, native crashes, process.exit and endless loops in the task.',
  },
  TASK_CANCELLED: {
    exit: 1,
    meaning: 'An attempt was aborted because its execution was cancelled.',
    remedy: 'No action is needed if the cancellation was intended.',
  },
  DEFINITION_CHANGED: {
    exit: 1,
    meaning:
      'An execution is paused because the definition of its workflow changed in an incompatible way and no live runner has the old definition.',
    remedy: 'Start a runner with the old definition, or retry, fork or cancel the execution.',
  },
  CRASH_LOOP: {
    exit: 1,
    meaning:
      'An execution is paused because five runners crashed while they loaded it or called its `when`, `over`, `input`, `until` or a schema.',
    remedy:
      'Check these functions for process.exit, native crashes and endless loops. Check the size of its data and the memory of the runners. Then resume or cancel it.',
  },
  // database
  DATABASE_URL_INVALID: {
    exit: 2,
    meaning: 'The database URL is not valid.',
    remedy:
      'Use `sqlite:./path/to/file.db`, `sqlite::memory:` or `postgres://user:password@host/database?schema=name`. Percent-encode special characters in the password.',
  },
  DATABASE_DRIVER_MISSING: {
    exit: 2,
    meaning: 'The driver package for this database is not installed.',
    remedy: 'Install the package that the message names.',
  },
  DATABASE_INVALID: {
    exit: 1,
    meaning: 'The file is not a Cloacina database, or it is damaged.',
    remedy: 'Check the path. Restore a backup if the file is damaged.',
  },
  ROW_DAMAGED: {
    exit: 1,
    meaning:
      'A row of the database contains data that Cloacina did not write. Lists leave it out with a warning, and the rest of the database stays in use.',
    remedy: 'Restore the row named in the message from a backup, or remove the object it describes and add it again.',
  },
  DATABASE_READ_ONLY: {
    exit: 6,
    meaning: 'The database can be read but not written.',
    remedy: 'Grant the process write access to the file and its folder.',
  },
  DATABASE_REPLACED: {
    exit: 6,
    meaning:
      'The SQLite file, its `-wal` or `-shm` file, or its folder was deleted, moved or replaced while it was open. No change was acknowledged after that.',
    remedy:
      'Stop every process that uses the file, restore the right files, and start again. Never open the file with another SQLite library in the same process.',
  },
  DATABASE_FLUSH_FAILED: {
    exit: 6,
    meaning:
      'The system failed to flush a commit of the SQLite database to disk, and may have lost its data. No change was acknowledged after that.',
    remedy: 'Check the disk and the log of the system. Then end the process and start it again.',
  },
  DATABASE_TOO_NEW: {
    exit: 1,
    meaning: 'A newer version of Cloacina migrated the database.',
    remedy: 'Upgrade this installation to that version or a later one.',
  },
  STORE_UNAVAILABLE: {
    exit: 6,
    meaning: 'The database did not accept a change in time. Acknowledged work is not lost.',
    remedy:
      'Check that the database is running and the URL is right. Other causes: a wrong password, a full disk, a lock of another process, missing permissions. Runners resume on their own.',
  },
  STORE_REFUSED: {
    exit: 1,
    meaning: 'The database refuses to store a change of an execution, or the change is too large.',
    remedy: 'Read the answer of the database in the message. Return references to large values.',
  },
  OUTCOME_UNKNOWN: {
    exit: 6,
    meaning: 'The connection broke after a change was sent. The change may or may not have been stored.',
    remedy: 'Check before you repeat it. For a start, the message contains the execution id.',
  },
  TRANSACTION_INVALID: {
    exit: 2,
    meaning: 'The value passed as a transaction is not a supported kind, or the transaction is not open.',
    remedy:
      'Pass the client or transaction object that began the transaction, and await each statement before you end it.',
  },
  TRANSACTION_ENDED: {
    exit: 1,
    meaning: 'The function ended a transaction that the engine owns, or used the transaction after its end.',
    remedy: 'Leave begin, commit, rollback and close to the engine, and keep no reference to the connection.',
  },
  TRANSACTION_ASYNC: {
    exit: 1,
    meaning: 'A function that runs as a transaction on SQLite returned a promise. Nothing was written.',
    remedy: 'Move asynchronous work before or after the transaction, and use only synchronous calls inside it.',
  },
  TRANSACTION_UNAVAILABLE: {
    exit: 2,
    meaning:
      'This kind of transaction is not available here. It depends on the database, and tasks of packages have none.',
    remedy: 'Use the alternative that the message names.',
  },
  RUNNER_CLOSED: { exit: 6, meaning: 'The runner or client is closed or closing.', remedy: 'Open a new one.' },
  CONFLICT: {
    exit: 5,
    meaning: 'Another call changed the same object at the same time.',
    remedy: 'Read the object again, and repeat the change if it is still needed.',
  },
  // archives
  ARCHIVE_CORRUPT: {
    exit: 1,
    meaning: 'The file is not a complete, well-formed `.cloacina` archive.',
    remedy: 'Copy or build the file again.',
  },
  ARCHIVE_TOO_LARGE: {
    exit: 1,
    meaning: 'The archive exceeds a limit: 50 MB packed, 500 MB or 10,000 entries unpacked, or a ratio of 200:1.',
    remedy: 'Move large assets out of the package.',
  },
  ARCHIVE_ENTRY_REFUSED: {
    exit: 1,
    meaning: 'The archive contains an entry that is not allowed.',
    remedy: 'Build the file with `cloacina package pack`; `path` and `reason` name the entry and the rule.',
  },
  ARCHIVE_NOT_CANONICAL: {
    exit: 1,
    meaning: 'The archive is not in canonical form.',
    remedy: 'Build the file with `cloacina package pack`.',
  },
  MANIFEST_MISSING: {
    exit: 1,
    meaning: 'The archive does not begin with manifest.json.',
    remedy: 'Build the file with `cloacina package pack`.',
  },
  MANIFEST_INVALID: {
    exit: 1,
    meaning: 'manifest.json does not match its schema or exceeds a limit.',
    remedy: 'Build the file with `cloacina package pack`; `problems` lists every fault with its path.',
  },
  FORMAT_UNSUPPORTED: {
    exit: 1,
    meaning: 'This version of Cloacina cannot read the format version of the archive.',
    remedy: 'Upgrade Cloacina, or build the package again with this version.',
  },
  ENGINE_UNSUPPORTED: {
    exit: 1,
    meaning: 'The package requires another version of Cloacina, of its guest interface, or of Node.',
    remedy: 'Use the versions that the message names.',
  },
  PERMISSION_NOT_GRANTED: {
    exit: 4,
    meaning:
      'The package asks for environment variables or for the network, and this runner does not grant them, so the runner does not load it.',
    remedy:
      'If the package should have them, grant them with `--allow-env` and `--allow-net`, or with the `grants` option of `Runner.open`.',
  },
  FILE_HASH_MISMATCH: {
    exit: 1,
    meaning: 'The hash of a file in the archive differs from the manifest.',
    remedy: 'Copy or build the file again.',
  },
  DIGEST_MISMATCH: {
    exit: 1,
    meaning: 'The digest of a stored package file differs from the registry. Its code was not run.',
    remedy: 'Restore the package file from a backup, or publish a new version.',
  },
  PROJECT_INVALID: {
    exit: 1,
    meaning: 'The folder is not a project that can be packed.',
    remedy: 'Add a package.json with name, version and "cloacina": { "entry": ... }.',
  },
  BUILD_FAILED: {
    exit: 1,
    meaning: 'The entry of the package does not build or does not load.',
    remedy: 'Correct the source at the file and line in the message, or set the environment variables that it names.',
  },
  NO_WORKFLOWS: {
    exit: 1,
    meaning: 'The entry of the package exports no workflow.',
    remedy: 'Export a workflow from the entry, by name or as the default export.',
  },
  FILE_UNREADABLE: {
    exit: 3,
    meaning: 'A file or folder that the command names cannot be read.',
    remedy: 'Check the path and the permissions.',
  },
  FILE_UNWRITABLE: {
    exit: 1,
    meaning: 'A file or folder that the command names cannot be written.',
    remedy: 'Check the path, the permissions and the free disk space.',
  },
  TARGET_EXISTS: {
    exit: 5,
    meaning: 'The folder or file to create already exists.',
    remedy: 'Choose another path, or remove the existing one.',
  },
  // registry
  PACKAGE_EXISTS: {
    exit: 5,
    meaning: 'This version is already published with other bytes. A version is immutable.',
    remedy: 'Raise the version in package.json.',
  },
  PACKAGE_DELETED: {
    exit: 5,
    meaning: 'This version was deleted. A deleted version number cannot be reused.',
    remedy: 'Raise the version in package.json.',
  },
  PACKAGE_NOT_FOUND: {
    exit: 3,
    meaning: 'The registry has no such package or version.',
    remedy: 'Check the name with `cloacina package list`.',
  },
  PACKAGE_IN_USE: {
    exit: 5,
    meaning: 'Open executions are pinned to this package.',
    remedy: 'Wait until they end, or cancel them.',
  },
  PACKAGE_ACTIVE: {
    exit: 5,
    meaning: 'A channel points to this version.',
    remedy: 'Activate another version first, or unregister the whole package by its name.',
  },
  PACKAGE_UNAVAILABLE: {
    exit: 5,
    meaning:
      'The version accepts no new executions: it was yanked, or it was quarantined because it crashed repeatedly.',
    remedy: 'Activate another version or roll back. Activating a quarantined version again ends its quarantine.',
  },
  PACKAGE_LOAD_FAILED: {
    exit: 1,
    meaning: 'The code of a package failed to load, or its exports do not match its manifest.',
    remedy: 'Read the message and build the package again.',
  },
  ISOLATE_EXITED: {
    exit: 1,
    meaning: 'The process of a package ended while a task was running in it.',
    remedy: 'Look for process.exit, exhausted memory and native crashes in the package.',
  },
  REGISTRY_URL_INVALID: {
    exit: 2,
    meaning: 'The registry URL is not valid.',
    remedy: 'Use `file:./path/to/folder`.',
  },
  REGISTRY_ABSENT: {
    exit: 2,
    meaning: 'This client or runner was opened without a registry.',
    remedy: 'Pass the `registry` option, for example `file:./packages`.',
  },
  // schedules
  SCHEDULE_INVALID: {
    exit: 2,
    meaning: 'A schedule has an invalid cron expression, time zone, date or policy.',
    remedy: 'Correct the field that the message names.',
  },
  SCHEDULE_EXISTS: {
    exit: 5,
    meaning: 'A schedule with this name exists with other settings.',
    remedy: 'Change it with `update`, or choose another name.',
  },
  SCHEDULE_NOT_FOUND: {
    exit: 3,
    meaning: 'No schedule has this name.',
    remedy: 'Check the name with `cloacina schedule list`.',
  },
  AMBIGUOUS_SCHEDULE: {
    exit: 5,
    meaning: 'Several owners have a schedule with this name.',
    remedy: 'Use the full name, `owner/name`.',
  },
  // anything else
  INTERNAL: { exit: 1, meaning: 'A bug in Cloacina.', remedy: 'Please report it with the stack.' },
} as const;

export type ErrorCode = keyof typeof rows;

export const errorTable: { readonly [Code in ErrorCode]: ErrorRow } = rows;

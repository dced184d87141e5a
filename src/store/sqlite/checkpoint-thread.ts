import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { isInPlace } from './file-guard.ts';
import type { FileIdentity } from './file-guard.ts';

// Makes the checkpoints of a database for a connection of the main thread, one for each message, and answers each.

/** Frames from which the log begins anew: no commit can be made meanwhile, so this is rarer than the copying of pages. */
const restartFrames = 4000;

const files = workerData as readonly FileIdentity[];

/**
 * Opened while the files are the ones of the main thread, and closed before or after them: a connection that is opened later may
 * combine the index of a lost log with another log.
 */
const db = files.every(isInPlace) ? new DatabaseSync(files[0]!.path, { timeout: 0 }) : undefined;
// the first read opens the log
db?.exec('pragma synchronous = normal; pragma wal_autocheckpoint = 0; select count(*) from sqlite_master');

function checkpoint(): void {
  if (db === undefined || !files.every(isInPlace)) return;
  // copies what no commit has to wait for
  const { log } = db.prepare('pragma wal_checkpoint(passive)').get() as { log: number };
  // the rest is short; a commit that finds the database locked is tried again
  if (log >= restartFrames) db.exec('pragma wal_checkpoint(restart)');
}

parentPort!.on('message', (what: 'checkpoint' | 'close') => {
  if (what === 'close') {
    db?.close();
    parentPort!.close();
    return;
  }
  try {
    checkpoint();
  } catch {
    // the next commit asks for another checkpoint; if none succeeds, SQLite makes them, and its errors are of commits
  }
  parentPort!.postMessage(null, []);
});

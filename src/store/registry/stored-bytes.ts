import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/*
 * The life of stored bytes. A row exists from before the first byte is written until after the last is deleted, so the
 * leftovers of a crash between bytes and version are known without listing a storage, which other databases may share.
 * Each publish touches the row, and only bytes untouched for the whole grace period are collected; a publish during the
 * short moment of deletion is refused.
 */

/** Announces that these bytes are about to be stored. Returns false if they are being deleted at this moment. */
export function* touchBytes(tx: Tx, digest: string, staleMs: number): Script<boolean> {
  const row = yield* first<{ touched_at: number; collecting: number }>(
    `select touched_at, collecting from package_bytes where digest = $1${tx.dialect.lock('update')}`,
    digest,
  );
  // a collector that died left its mark; it counts for `staleMs`
  if (row?.collecting === 1 && tx.now - row.touched_at < staleMs) return false;
  yield* run(
    `insert into package_bytes (digest, touched_at, collecting) values ($1, $2, 0)
     on conflict (digest) do update set touched_at = excluded.touched_at, collecting = 0`,
    digest,
    tx.now,
  );
  return true;
}

/**
 * True if the bytes of a digest are being deleted at this moment, or were since they were announced: each publish touches
 * the row first.
 */
export function* isCollecting(tx: Tx, digest: string): Script<boolean> {
  const row = yield* first<{ collecting: number }>(
    `select collecting from package_bytes where digest = $1${tx.dialect.lock('update')}`,
    digest,
  );
  return row?.collecting !== 0;
}

/**
 * Bytes that no version needs, that no open execution is pinned to, and that no publish has touched since `before`; of one
 * digest, or of all (null).
 */
export function* collectableBytes(before: number, digest: string | null): Script<string[]> {
  const rows = yield* all<{ digest: string }>(
    `select b.digest from package_bytes b where b.touched_at <= $1 and (cast($2 as text) is null or b.digest = $2)
     and not exists (select 1 from packages p where p.digest = b.digest and p.status <> 'deleted')
     and not exists (select 1 from executions e where e.digest = b.digest and e.ended_at is null)
     order by b.digest`,
    before,
    digest,
  );
  return rows.map((row) => row.digest);
}

/** Marks bytes as being deleted; returns false if a version needs them again. */
export function* beginCollecting(tx: Tx, digest: string, before: number): Script<boolean> {
  // the lock order of all transactions that take both; a new statement sees the commits during the wait
  yield* all(
    `select id from packages where digest = $1 order by registered_at, id${tx.dialect.lock('update')}`,
    digest,
  );
  yield* first(`select digest from package_bytes where digest = $1${tx.dialect.lock('update')}`, digest);
  if ((yield* collectableBytes(before, digest)).length === 0) return false;
  yield* run('update package_bytes set collecting = 1, touched_at = $2 where digest = $1', digest, tx.now);
  return true;
}

/** Forgets deleted bytes. */
export function* endCollecting(digest: string): Script<void> {
  yield* run('delete from package_bytes where digest = $1 and collecting = 1', digest);
}

import { all, first, run } from '../script.ts';
import type { Dialect, Script } from '../script.ts';

/*
 * The life of stored bytes. A row exists from before the first byte is written until after the last is deleted, so the
 * leftovers of a crash between bytes and version are known without listing a storage, which other databases may share.
 * Each publish touches the row, and only bytes untouched for the whole grace period are collected; a publish during the
 * short moment of deletion is refused.
 */

/** Announces that these bytes are about to be stored. Returns false while they are being deleted. */
export function* touchBytes(digest: string, now: number, staleMs: number, dialect: Dialect): Script<boolean> {
  const row = yield* first<{ touched_at: number; collecting: number }>(
    `select touched_at, collecting from package_bytes where digest = $1${dialect.forUpdate}`,
    digest,
  );
  // a collector that died left its mark; after `staleMs` it is ignored
  if (row?.collecting === 1 && now - row.touched_at < staleMs) return false;
  yield* run(
    `insert into package_bytes (digest, touched_at, collecting) values ($1, $2, 0)
     on conflict (digest) do update set touched_at = excluded.touched_at, collecting = 0`,
    digest,
    now,
  );
  return true;
}

/** Returns true while the bytes of a digest are being deleted. */
export function* isCollecting(digest: string, dialect: Dialect): Script<boolean> {
  const row = yield* first<{ collecting: number }>(
    `select collecting from package_bytes where digest = $1${dialect.forUpdate}`,
    digest,
  );
  return row?.collecting === 1;
}

/**
 * Returns digests without a version, without pinned open executions, and untouched since `before`; one digest, or all
 * (null).
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

/** Marks bytes as being deleted; returns false if they are needed again. */
export function* beginCollecting(digest: string, before: number, now: number, dialect: Dialect): Script<boolean> {
  // the order of all transactions that lock both; commits made while waiting are visible only to a new statement
  yield* all(`select id from packages where digest = $1 order by registered_at, id${dialect.forUpdate}`, digest);
  yield* first(`select digest from package_bytes where digest = $1${dialect.forUpdate}`, digest);
  if ((yield* collectableBytes(before, digest)).length === 0) return false;
  yield* run('update package_bytes set collecting = 1, touched_at = $2 where digest = $1', digest, now);
  return true;
}

/** Forgets deleted bytes. */
export function* endCollecting(digest: string): Script<void> {
  yield* run('delete from package_bytes where digest = $1 and collecting = 1', digest);
}

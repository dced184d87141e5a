import { first, run } from '../script.ts';
import type { Script } from '../script.ts';

/** The end of a process of a package version that counts against one execution. */
export interface CrashRecord {
  readonly tenant: string;
  readonly digest: string;
  readonly execution: string;
  /** Epoch ms. */
  readonly at: number;
}

/**
 * Records a crash, and returns the number of different executions of the tenant that have crashed the version since the
 * window began. Crashes of any version before the window are forgotten.
 */
export function* recordCrash({ tenant, digest, execution, at }: CrashRecord, windowMs: number): Script<number> {
  yield* run('delete from package_crashes where at < $1', at - windowMs);
  yield* run(
    `insert into package_crashes (tenant, digest, execution_id, at) values ($1, $2, $3, $4)
     on conflict (tenant, digest, execution_id) do update set at = excluded.at`,
    tenant,
    digest,
    execution,
    at,
  );
  const row = yield* first<{ count: number }>(
    'select count(*) as count from package_crashes where tenant = $1 and digest = $2',
    tenant,
    digest,
  );
  return row!.count;
}

/** Forgets the crashes of a version: the next count begins anew. */
export function* forgetCrashes(tenant: string, digest: string): Script<void> {
  yield* run('delete from package_crashes where tenant = $1 and digest = $2', tenant, digest);
}

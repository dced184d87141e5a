import type { ClientBase } from 'pg';
import { postgresDialect } from '../../dialect.ts';
import { renewalOf, signsText } from '../../runners/renewal.ts';
import type { ClockReading, Renew, Renewal, SignsRow } from '../../runners/renewal.ts';
import { runnersText } from '../../runners/runners.ts';
import type { RunnerRow } from '../../runners/runners.ts';

const clock = '(extract(epoch from clock_timestamp()) * 1000)::bigint';

/**
 * A renewal as one statement and one round trip, by the database's own clock: $1 the runner, $2 its build ids as a JSON
 * array, $3 the length of its lease. A renewal lost with the host does no harm, so it does not wait for the disk. It is
 * written for `read committed`: under `serializable` two runners that read each other's rows and renew their own would
 * conflict.
 */
export const renewalText: string = `with setting as materialized (select set_config('synchronous_commit', 'off', true)),
  renewed as (update runner_leases set renewed_at = ${clock}, lease_until = ${clock} + $3
    where runner = $1 and exists (select 1 from runners where id = $1 and dead = 0) and exists (select 1 from setting) returning 1)
  select ${clock} as now, (select count(*) from renewed)::int as alive,
    (select json_agg(r) from (${runnersText}) r) as runners, s.* from (${signsText(postgresDialect)}) s`;

export interface RenewalRow extends SignsRow {
  readonly now: number;
  readonly alive: number;
  readonly runners: readonly RunnerRow[] | null;
}

export function renewalParams({ runner, buildIds, leaseMs }: Renew): unknown[] {
  return [runner, JSON.stringify(buildIds), leaseMs];
}

/** Renews on a connection. Throws if there is no answer within the deadline. */
export async function renewOn(client: ClientBase, text: string, renewal: Renew, deadlineMs: number): Promise<Renewal> {
  const sent = steadyNow();
  const asked = { text, values: renewalParams(renewal), query_timeout: deadlineMs };
  const { rows } = await client.query<RenewalRow>(asked);
  return renewalFrom(rows[0]!, sent, steadyNow());
}

/** An answer that waited for a lock, or for the network, is no good reading of the database's clock, ms. */
const readWithinMs = 200;

/** `sent` and `answered`: see `steadyNow`. */
export function renewalFrom(row: RenewalRow, sent: number, answered: number): Renewal {
  const reading = answered - sent > readWithinMs ? null : clockReading(row.now, sent, answered);
  return renewalOf(row, row.alive === 1, reading, row.runners ?? []);
}

/** The best of a few readings. `ask` returns the time of the database, epoch ms. */
export async function readClock(ask: () => Promise<number>): Promise<ClockReading> {
  let best: { readonly tookMs: number; readonly reading: ClockReading } | undefined;
  for (let tries = 0; tries < mostReadings; tries++) {
    const sent = steadyNow();
    const now = await ask();
    const answered = steadyNow();
    const tookMs = answered - sent;
    if (best === undefined || tookMs < best.tookMs) best = { tookMs, reading: clockReading(now, sent, answered) };
    if (best.tookMs <= readWithinMs) break;
  }
  return best!.reading;
}

const mostReadings = 3;

/** The database is assumed to read its clock half way between. */
function clockReading(now: number, sent: number, answered: number): ClockReading {
  return { now, at: (sent + answered) / 2 };
}

/** The monotonic clock that all threads of a process share, ms. */
export function steadyNow(): number {
  return performance.timeOrigin + performance.now();
}

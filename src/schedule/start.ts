import { CloacinaError } from '../core/error.ts';
import { parseJson } from '../core/json.ts';
import { toTaskError } from '../core/foreign/thrown.ts';
import { checkInput } from '../engine/client/start.ts';
import type { CheckedInput, ResolvedWorkflow } from '../engine/client/start.ts';
import { lockPinnedVersions } from '../store/commit/pinned-versions.ts';
import type { Pinning, Pins } from '../store/commit/pinned-versions.ts';
import type { ScheduleRecord } from '../store/schedules/schedules.ts';
import type { Script, Tx } from '../store/script.ts';
import { workflowRef } from './owner.ts';

/** The start of a schedule: its workflow and checked input, or the error that prevents it (JSON text of a TaskError). */
export type Start =
  | { readonly status: 'ready'; readonly resolved: ResolvedWorkflow; readonly input: CheckedInput }
  | { readonly status: 'failed'; readonly error: string };

/** A start within its transaction, which holds its version. */
export type HeldStart =
  | (Extract<Start, { readonly status: 'ready' }> & { readonly pins: Pins })
  | Extract<Start, { readonly status: 'failed' }>;

/**
 * Holds the versions that schedules start until the end of the transaction, before the row of any schedule is locked: a
 * transaction that moves a channel locks the version before the schedules of its workflows.
 */
export function* holdStarts(
  tx: Tx,
  starts: readonly { readonly record: ScheduleRecord; readonly start: Start }[],
): Script<readonly HeldStart[]> {
  const pinnings = starts.map(({ record, start }) => (start.status === 'ready' ? pinningOf(record, start) : null));
  const pins = yield* lockPinnedVersions(
    tx,
    pinnings.filter((one) => one !== null),
  );
  return starts.map(({ start }, i) => {
    if (start.status === 'failed') return start;
    const fault = pins.fault(pinnings[i]!);
    return fault === null ? { ...start, pins } : failed(fault);
  });
}

function pinningOf({ tenant }: ScheduleRecord, { resolved }: Extract<Start, { readonly status: 'ready' }>): Pinning {
  const { spec, pin, pinBy = 'channel' } = resolved;
  return { tenant, workflow: spec.name, pin, pinBy };
}

function failed(thrown: unknown): Extract<Start, { readonly status: 'failed' }> {
  const { name, code, message } = toTaskError(thrown, 'INTERNAL');
  return { status: 'failed', error: JSON.stringify({ name, code, message }) };
}

/** Errors that are not the schedule's: the start is tried again. */
const passing: ReadonlySet<string> = new Set([
  'STORE_UNAVAILABLE',
  'RUNNER_CLOSED',
  'DATABASE_READ_ONLY',
  'DATABASE_INVALID',
  'DATABASE_REPLACED',
  'DATABASE_FLUSH_FAILED',
]);

/** True for an error that may be over with the next try, whatever the schedule. */
export function isPassing(error: unknown): boolean {
  return error instanceof CloacinaError && (passing.has(error.code) || error.code === 'OUTCOME_UNKNOWN');
}

/** Looks up the starts of schedules. Each workflow is resolved once. */
export class Starts {
  readonly #resolve: (tenant: string, workflow: string) => Promise<ResolvedWorkflow>;
  readonly #maxPayload: number;
  readonly #resolved = new Map<string, Promise<ResolvedWorkflow>>();

  constructor(resolve: (tenant: string, workflow: string) => Promise<ResolvedWorkflow>, maxPayload: number) {
    this.#resolve = resolve;
    this.#maxPayload = maxPayload;
  }

  /** Throws only if the database is away. */
  async of(record: ScheduleRecord): Promise<Start> {
    try {
      const resolved = await this.#workflow(record.tenant, workflowRef(record));
      const input = await checkInput(resolved, parseJson(record.input), this.#maxPayload);
      return { status: 'ready', resolved, input };
    } catch (error) {
      if (isPassing(error)) throw error;
      return failed(error);
    }
  }

  #workflow(tenant: string, ref: string): Promise<ResolvedWorkflow> {
    const key = JSON.stringify([tenant, ref]);
    const known = this.#resolved.get(key);
    if (known !== undefined) return known;
    const resolved = this.#resolve(tenant, ref);
    this.#resolved.set(key, resolved);
    return resolved;
  }
}

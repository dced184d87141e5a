import type { Clock } from '../../engine/clock.ts';
import { conditionOrder, removeConditions, writeConditions } from '../../store/registry/conditions.ts';
import type { Condition, ConditionName } from '../../store/registry/conditions.ts';
import { registrySerial } from '../../store/registry/log.ts';
import type { Script } from '../../store/script.ts';
import type { Store } from '../../store/store.ts';
import type { LoadFailure } from './load.ts';
import type { ActivateHook } from '../registry/commands.ts';
import { reportCrashLoop, reportFailed, reportLoaded } from '../registry/reports.ts';
import type { Report } from '../registry/reports.ts';

export interface ReporterOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** The current id of the runner: it changes when a runner is replaced after a loss. */
  readonly runnerId: () => string;
  /** As for `Registry`: a report may move a channel back. */
  readonly onActivate?: ActivateHook;
  /** Called after this runner changed the registry itself. */
  readonly onChange?: () => void;
}

interface Pending {
  readonly conditions: readonly Condition[];
  readonly write: (report: Report) => Script<boolean>;
}

/**
 * Writes a runner's conditions of the versions that it loads, and their effects on channels. Failed writes are kept for
 * the next `flush`.
 */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #reported = new Map<string, readonly Condition[]>();
  readonly #pending = new Map<string, Pending>();
  #runner: string;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#runner = options.runnerId();
  }

  /** True if some write failed so far. */
  get isPending(): boolean {
    return this.#pending.size > 0;
  }

  async loaded(digest: string, serial: number): Promise<void> {
    await this.#report(digest, { conditions: this.#conditions(serial, null, 'Ready', null), write: reportLoaded });
  }

  async failed(digest: string, serial: number, failure: LoadFailure): Promise<void> {
    const { step, reason } = failure;
    const message = storable(failure.message);
    const conditions = this.#conditions(serial, step, reason, message);
    await this.#report(digest, { conditions, write: (report) => reportFailed(report, `${reason}: ${message}`) });
  }

  async crashLoop(digest: string, serial: number, text: string): Promise<void> {
    const message = storable(text);
    const conditions = this.#conditions(serial, 'healthy', 'CrashLoop', message);
    await this.#report(digest, { conditions, write: (report) => reportCrashLoop(report, `CrashLoop: ${message}`) });
  }

  /** Removes the conditions of an unloaded version; the reason for a quarantine is kept. */
  async unloaded(digest: string): Promise<void> {
    this.#pending.delete(digest);
    const reported = this.#reported.get(digest) ?? [];
    this.#reported.delete(digest);
    if (reported.some((condition) => condition.reason === 'CrashLoop')) return;
    const runner = this.#options.runnerId();
    await this.#options.store.write(() => removeConditions(runner, digest));
  }

  /** Repeats failed writes, and writes everything again after the runner's id changed. */
  async flush(): Promise<void> {
    const runner = this.#options.runnerId();
    if (runner !== this.#runner) {
      const reported = [...this.#reported];
      await this.#options.store.write(function* () {
        for (const [digest, conditions] of reported) yield* writeConditions(runner, digest, conditions);
      });
      this.#runner = runner;
    }
    for (const [digest, pending] of this.#pending) await this.#report(digest, pending);
  }

  /** The registry's serial including the changes of this runner itself. */
  async serial(): Promise<number> {
    return this.#options.store.read(() => registrySerial());
  }

  async #report(digest: string, pending: Pending): Promise<void> {
    const { store, clock, runnerId, onActivate, onChange } = this.#options;
    const { conditions, write } = pending;
    this.#reported.set(digest, conditions);
    this.#pending.set(digest, pending);
    const report = { runner: runnerId(), digest, at: clock.now(), conditions, onActivate };
    const changed = await store.write((dialect) => write({ ...report, dialect }));
    if (this.#pending.get(digest) === pending) this.#pending.delete(digest);
    if (changed) onChange?.();
  }

  /** Returns all conditions of a version: true up to the failed one, which carries the reason. */
  #conditions(serial: number, failed: ConditionName | null, reason: string, message: string | null): Condition[] {
    const at = this.#options.clock.now();
    const stop = failed === null ? conditionOrder.length : conditionOrder.indexOf(failed);
    const decisive = failed === null ? conditionOrder.length - 1 : stop;
    return conditionOrder.map((condition, index) => ({
      condition,
      status: index < stop,
      reason: index === decisive ? reason : index < stop ? 'Done' : 'NotReached',
      message: index === decisive ? message : null,
      serial,
      at,
    }));
  }
}

const maxMessageLength = 4000;

/** Makes the output of a package storable: PostgreSQL refuses NUL and lone surrogates. */
function storable(message: string): string {
  const clean = message.replaceAll('\0', '\u2400').toWellFormed();
  return clean.length > maxMessageLength ? `${clean.slice(0, maxMessageLength)}...`.toWellFormed() : clean;
}

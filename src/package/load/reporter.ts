import type { Clock } from '../../engine/clock.ts';
import { conditionOrder, removeConditions, writeConditions } from '../../store/registry/conditions.ts';
import type { Condition, ConditionName } from '../../store/registry/conditions.ts';
import { registrySerial } from '../../store/registry/log.ts';
import type { Script } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import type { CrashRecord } from '../../store/registry/crashes.ts';
import { isCrashLoop } from './crash-loop.ts';
import type { LoadFailure } from './load.ts';
import type { ActivateHook } from '../registry/commands.ts';
import { reportCrashLoop, reportFailed, reportLoaded } from '../registry/reports.ts';
import type { Report } from '../registry/reports.ts';

export interface ReporterOptions {
  readonly store: Scripts;
  readonly clock: Clock;
  /** The current id of the runner: it changes when a runner begins anew. */
  readonly runnerId: () => string;
  /** As for `Registry`: a channel may be moved back here. */
  readonly onActivate?: ActivateHook;
  /** Called when this runner changed the registry itself. */
  readonly onChange?: () => void;
}

interface Pending {
  readonly conditions: readonly Condition[];
  readonly outcome: (report: Report) => Script<boolean>;
}

/**
 * What a runner says of the versions that it tries: their conditions, and what follows for channels. What could not be
 * written is kept for the next `flush`.
 */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #said = new Map<string, readonly Condition[]>();
  readonly #pending = new Map<string, Pending>();
  /** Crashes that could not be recorded. */
  readonly #crashes = new Map<CrashRecord, () => Promise<void>>();
  #runner: string;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#runner = options.runnerId();
  }

  /** Reports that could not be written yet. */
  get isPending(): boolean {
    return this.#pending.size > 0 || this.#crashes.size > 0;
  }

  async loaded(digest: string, serial: number): Promise<void> {
    await this.#say(digest, { conditions: this.#conditions(serial, null, 'Ready', null), outcome: reportLoaded });
  }

  async failed(digest: string, serial: number, failure: LoadFailure): Promise<void> {
    const { step, reason } = failure;
    const message = storable(failure.message);
    const conditions = this.#conditions(serial, step, reason, message);
    await this.#say(digest, { conditions, outcome: (report) => reportFailed(report, `${reason}: ${message}`) });
  }

  async crashLoop(digest: string, serial: number, why: string): Promise<void> {
    const message = storable(why);
    const conditions = this.#conditions(serial, 'healthy', 'CrashLoop', message);
    await this.#say(digest, { conditions, outcome: (report) => reportCrashLoop(report, `CrashLoop: ${message}`) });
  }

  /** Records a crash for all runners, and calls `onLoop` if it completes a crash loop. */
  async crashed(crash: CrashRecord, onLoop: () => Promise<void>): Promise<void> {
    let isLoop: boolean;
    try {
      isLoop = await this.#options.store.write(() => isCrashLoop(crash));
    } catch (error) {
      this.#crashes.set(crash, onLoop);
      throw error;
    }
    if (isLoop) await onLoop();
  }

  /** Removes the conditions of a version, except those of a quarantine: its reason stays visible. */
  async unloaded(digest: string): Promise<void> {
    this.#pending.delete(digest);
    const said = this.#said.get(digest) ?? [];
    this.#said.delete(digest);
    if (said.some((condition) => condition.reason === 'CrashLoop')) return;
    const runner = this.#options.runnerId();
    await this.#options.store.write(() => removeConditions(runner, digest));
  }

  /** Writes the reports that could not be written before; all reports anew if the runner has another id now. */
  async flush(): Promise<void> {
    const runner = this.#options.runnerId();
    if (runner !== this.#runner) {
      const said = [...this.#said];
      await this.#options.store.write(function* () {
        for (const [digest, conditions] of said) yield* writeConditions(runner, digest, conditions);
      });
      this.#runner = runner;
    }
    for (const [digest, pending] of this.#pending) await this.#say(digest, pending);
    for (const [crash, onLoop] of this.#crashes) {
      this.#crashes.delete(crash);
      await this.crashed(crash, onLoop);
    }
  }

  /** The registry's serial, including the acts of this runner. */
  async serial(): Promise<number> {
    return this.#options.store.read(() => registrySerial());
  }

  async #say(digest: string, pending: Pending): Promise<void> {
    const { store, runnerId, onActivate, onChange } = this.#options;
    const { conditions, outcome } = pending;
    this.#said.set(digest, conditions);
    this.#pending.set(digest, pending);
    const report = { runner: runnerId(), digest, conditions, onActivate };
    const changed = await store.write((tx) => outcome({ ...tx, ...report }));
    if (this.#pending.get(digest) === pending) this.#pending.delete(digest);
    if (changed) onChange?.();
  }

  /** All conditions of a version: true up to the one that failed, which says why. */
  #conditions(serial: number, failed: ConditionName | null, reason: string, message: string | null): Condition[] {
    const at = this.#options.clock.now();
    const stop = failed === null ? conditionOrder.length : conditionOrder.indexOf(failed);
    const told = failed === null ? conditionOrder.length - 1 : stop;
    return conditionOrder.map((condition, index) => ({
      condition,
      status: index < stop,
      reason: index === told ? reason : index < stop ? 'Done' : 'NotReached',
      message: index === told ? message : null,
      serial,
      at,
    }));
  }
}

const maxMessageLength = 4000;

/**
 * The output or error text of a package in a form that every database takes: PostgreSQL refuses NUL and lone surrogates.
 */
function storable(message: string): string {
  const clean = message.replaceAll('\0', '\u2400').toWellFormed();
  return clean.length > maxMessageLength ? `${clean.slice(0, maxMessageLength)}...`.toWellFormed() : clean;
}

import type { Clock } from '../../engine/clock.ts';
import { conditionOrder, removeConditions, writeConditions } from '../../store/registry/conditions.ts';
import type { Condition, ConditionName } from '../../store/registry/conditions.ts';
import { registrySerial } from '../../store/registry/log.ts';
import type { Script } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import type { LoadFailure } from './load.ts';
import type { ActivateHook } from '../registry/commands.ts';
import { reportCrashLoop, reportFailed, reportLoaded } from '../registry/reports.ts';
import type { Report, ReportedVersion } from '../registry/reports.ts';

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

interface Said {
  readonly version: ReportedVersion;
  readonly conditions: readonly Condition[];
}

interface Pending extends Said {
  readonly outcome: (report: Report) => Script<boolean>;
}

/**
 * What a runner says of the versions that it tries, for each tenant that has them: their conditions, and what follows
 * for channels. What could not be written is kept for the next `flush`.
 */
export class Reporter {
  readonly #options: ReporterOptions;
  /** By `keyOf` the version. */
  readonly #said = new Map<string, Said>();
  readonly #pending = new Map<string, Pending>();
  #runner: string;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#runner = options.runnerId();
  }

  /** Reports that could not be written yet. */
  get isPending(): boolean {
    return this.#pending.size > 0;
  }

  async loaded(versions: readonly ReportedVersion[], serial: number): Promise<void> {
    const conditions = this.#conditions(serial, null, 'Ready', null);
    await this.#say(versions.map((version) => ({ version, conditions, outcome: reportLoaded })));
  }

  async failed(versions: readonly ReportedVersion[], serial: number, failure: LoadFailure): Promise<void> {
    const { step, reason } = failure;
    const message = storable(failure.message);
    const conditions = this.#conditions(serial, step, reason, message);
    const outcome = (report: Report): Script<boolean> => reportFailed(report, `${reason}: ${message}`);
    await this.#say(versions.map((version) => ({ version, conditions, outcome })));
  }

  async crashLoop(version: ReportedVersion, serial: number, why: string): Promise<void> {
    const message = storable(why);
    const conditions = this.#conditions(serial, 'healthy', 'CrashLoop', message);
    await this.#say([{ version, conditions, outcome: (report) => reportCrashLoop(report, `CrashLoop: ${message}`) }]);
  }

  /** Removes the conditions of a version, except those of a quarantine: its reason stays visible. */
  async unloaded(version: ReportedVersion): Promise<void> {
    const key = keyOf(version);
    this.#pending.delete(key);
    const said = this.#said.get(key)?.conditions ?? [];
    this.#said.delete(key);
    if (said.some((condition) => condition.reason === 'CrashLoop')) return;
    const runner = this.#options.runnerId();
    await this.#options.store.write(() => removeConditions(runner, version));
  }

  /** Writes the reports that could not be written before; all reports anew if the runner has another id now. */
  async flush(): Promise<void> {
    const runner = this.#options.runnerId();
    if (runner !== this.#runner) {
      const said = [...this.#said.values()];
      await this.#options.store.write(function* () {
        for (const { version, conditions } of said) yield* writeConditions(runner, version, conditions);
      });
      this.#runner = runner;
    }
    await this.#say([...this.#pending.values()]);
  }

  /** The registry's serial, including the acts of this runner. */
  async serial(): Promise<number> {
    return this.#options.store.read(() => registrySerial());
  }

  /** Each report is a transaction of its own, and is kept until it is written. */
  async #say(reports: readonly Pending[]): Promise<void> {
    for (const pending of reports) {
      this.#said.set(keyOf(pending.version), pending);
      this.#pending.set(keyOf(pending.version), pending);
    }
    for (const pending of reports) await this.#write(pending);
  }

  async #write(pending: Pending): Promise<void> {
    const { store, runnerId, onActivate, onChange } = this.#options;
    const { version, conditions, outcome } = pending;
    const key = keyOf(version);
    if (this.#pending.get(key) !== pending) return; // a newer report replaced it, or the version was unloaded
    const report = { runner: runnerId(), version, conditions, onActivate };
    const changed = await store.write((tx) => outcome({ ...tx, ...report }));
    if (this.#pending.get(key) === pending) this.#pending.delete(key);
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

function keyOf({ tenant, digest }: ReportedVersion): string {
  return `${digest} ${tenant}`;
}

const maxMessageLength = 4000;

/**
 * The output or error text of a package in a form that every database takes: PostgreSQL refuses NUL and lone surrogates.
 */
function storable(message: string): string {
  const clean = message.replaceAll('\0', '\u2400').toWellFormed();
  return clean.length > maxMessageLength ? `${clean.slice(0, maxMessageLength)}...`.toWellFormed() : clean;
}

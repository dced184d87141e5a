import { CloacinaError } from '../../core/error.ts';
import type { ErrorCode } from '../../core/error-table.ts';
import { oneLine } from '../../core/plain.ts';
import type { Logger } from '../../engine/logger.ts';
import type { PackageEvent } from '../../package/load/reconciler.ts';

/** Maximum number of failed loads: a script must not wait for ever for a broken package. */
const loadsAtMost = 3;

export interface GivenUp {
  readonly status: 'given up';
  readonly code: ErrorCode;
  readonly why: string;
}

/**
 * The loads of one package in this process, for one execution. A version that does not load is given up only while the
 * execution is pinned to it: its channel may go back, and take the execution along.
 */
export class Loading {
  readonly #package: string;
  readonly #note: (text: string) => void;
  readonly #gaveUp = Promise.withResolvers<GivenUp>();
  /** The number of failures, and the last of them, by version. */
  readonly #failures = new Map<string, { readonly count: number; readonly isOver: boolean; readonly given: GivenUp }>();
  #pinOf: (() => Promise<string | null>) | undefined;

  /** `note` prints that the execution goes on with another version. */
  constructor(name: string, note: (text: string) => void) {
    this.#package = name;
    this.#note = note;
  }

  /** Resolves with the reason when loading was given up. */
  get gaveUp(): Promise<GivenUp> {
    return this.#gaveUp.promise;
  }

  /** `pinOf` reads the version that the execution is pinned to now. */
  follow(pinOf: () => Promise<string | null>): void {
    this.#pinOf = pinOf;
    void this.#judge();
  }

  happened(event: PackageEvent): void {
    if (event.name !== this.#package) return;
    if (event.event === 'package.loaded') this.#loaded(event.version);
    if (event.event !== 'package.failed') return;
    const { version, code, message, retryInMs } = event;
    const count = (this.#failures.get(version)?.count ?? 0) + 1;
    const label = `${event.name} v${version}`;
    const why = message.includes(label) ? message : `package ${label} does not load: ${message}`;
    const isOver = retryInMs === null || count >= loadsAtMost;
    this.#failures.set(version, { count, isOver, given: { status: 'given up', code, why } });
    if (isOver) void this.#judge();
  }

  /** Without the lines about failed loads: the error of the command has the reason, once. */
  quiet(logger: Logger): Logger {
    const isTold = (data: object): boolean => {
      const { package: name, version, reason } = data as { readonly [field: string]: unknown };
      return name === this.#package && version !== undefined && reason !== undefined;
    };
    return { ...logger, error: (data, message) => (isTold(data) ? undefined : logger.error(data, message)) };
  }

  #loaded(version: string): void {
    for (const [failed, { given }] of this.#failures) {
      if (failed !== version) this.#note(oneLine(`${given.why}; the execution goes on with v${version}`));
    }
    this.#failures.clear();
  }

  async #judge(): Promise<void> {
    const version = await this.#pinOf?.().catch(() => null);
    const failure = typeof version === 'string' ? this.#failures.get(version) : undefined;
    if (failure?.isOver === true) this.#gaveUp.resolve(failure.given);
  }
}

/** The package cannot be loaded; its execution was cancelled, or waits for another runner. */
export class NotLoadedError extends CloacinaError {
  readonly executionId: string;
  constructor({ code, why }: GivenUp, executionId: string, isCancelled: boolean) {
    const waits = `waits for a runner that can load it (to cancel it: cloacina execution cancel ${executionId})`;
    super(code, `${why}; execution ${executionId} ${isCancelled ? 'was cancelled' : waits}`);
    this.executionId = executionId;
  }
}

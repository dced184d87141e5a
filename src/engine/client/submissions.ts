import { CloacinaError, StoreUnavailableError } from '../../core/error.ts';
import { PinRefusedError } from '../../store/transition.ts';
import type { NewExecution } from '../../store/transition.ts';
import type { LoadedWorkflow } from '../catalog.ts';
import type { Clock, Timer } from '../clock.ts';
import type { Participant } from '../journal.ts';

/** A start that is not durable yet. */
interface Submitted {
  readonly create: NewExecution;
  readonly workflow: LoadedWorkflow | undefined;
  /** Since when it waits for an answer (monotonic, ms). */
  at: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  participant: Participant;
}

/** How long a start waits for a database that is away before it fails. */
const patienceMs = 10_000;
const checkMs = 500;

/** The starts that wait to become durable: each is answered, whatever happens to the database or to the lease. */
export class Submissions {
  readonly #waiting = new Map<string, Submitted>();
  /** In the journal of a runner that was declared dead. */
  readonly #cut = new Map<string, Submitted>();
  readonly #clock: Clock;
  readonly #withdraw: (participant: Participant) => 'withdrawn' | 'sent' | 'unknown';
  #timer: Timer | undefined;

  /** `withdraw` takes a start back, where it is not in the hands of the database. */
  constructor(clock: Clock, withdraw: (participant: Participant) => 'withdrawn' | 'sent' | 'unknown') {
    this.#clock = clock;
    this.#withdraw = withdraw;
  }

  /** Resolves once the participant that `submit` makes is durable. `away`: the database is away already. */
  async submit(
    create: NewExecution,
    workflow: LoadedWorkflow | undefined,
    submit: (durable: () => void, refused: (cause: unknown) => void) => Participant,
    away = false,
  ): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const { durable, refused } = this.#answers(create.id);
      const at = this.#clock.monotonic();
      const entry = { create, workflow, at, resolve, reject } as Submitted;
      this.#waiting.set(create.id, entry);
      entry.participant = submit(durable, refused);
      if (away) this.watch();
    });
  }

  /** Fails what has waited too long, where it can be taken back; called when the database goes away. */
  watch(): void {
    this.#timer ??= this.#clock.timer(checkMs, () => {
      this.#timer = undefined;
      const now = this.#clock.monotonic();
      for (const [id, entry] of this.#waiting) {
        if (now - entry.at < patienceMs) continue;
        const how = this.#withdraw(entry.participant);
        if (how === 'sent') continue;
        this.#waiting.delete(id);
        entry.reject(how === 'unknown' ? unknownOutcome(id) : unavailable(id));
      }
      for (const [id, entry] of this.#cut) {
        if (now - entry.at < patienceMs) continue;
        this.#cut.delete(id);
        entry.reject(unknownOutcome(id));
      }
      if (this.#waiting.size + this.#cut.size > 0) this.watch();
    });
  }

  /** The runner was declared dead: what it was to write by now waits for `resubmit`. */
  cut(): void {
    const now = this.#clock.monotonic();
    for (const [id, entry] of this.#waiting) {
      entry.at = now;
      this.#cut.set(id, entry);
    }
    this.#waiting.clear();
    if (this.#cut.size > 0) this.watch();
  }

  /**
   * Hands in again what a runner that was declared dead could not write. What it did write without hearing of it is there:
   * `exists` is asked first.
   */
  resubmit(
    submit: (create: NewExecution, workflow: LoadedWorkflow | undefined) => Promise<void>,
    exists: (id: string) => Promise<boolean>,
  ): void {
    const entries = [...this.#cut.values()];
    this.#cut.clear();
    for (const { create, workflow, resolve, reject } of entries) {
      const again = async (): Promise<void> => {
        const isThere = await exists(create.id).catch(() => {
          throw unknownOutcome(create.id);
        });
        if (!isThere) await submit(create, workflow);
      };
      void again().then(resolve, reject);
    }
  }

  /** Fails every start that still waits: with `why`, or else with whether the database may have it. */
  close(why?: Error): void {
    this.#timer?.cancel();
    for (const { create, participant, reject } of this.#waiting.values()) {
      const isWithdrawn = why === undefined && this.#withdraw(participant) === 'withdrawn';
      reject(why ?? (isWithdrawn ? unavailable(create.id) : unknownOutcome(create.id)));
    }
    for (const { create, reject } of this.#cut.values()) reject(why ?? unknownOutcome(create.id));
    this.#waiting.clear();
    this.#cut.clear();
  }

  #answers(id: string): { durable: () => void; refused: (cause: unknown) => void } {
    const take = (): Submitted | undefined => {
      const entry = this.#waiting.get(id) ?? this.#cut.get(id);
      this.#waiting.delete(id);
      this.#cut.delete(id);
      return entry;
    };
    return {
      durable: () => take()?.resolve(),
      refused: (cause) => {
        const why = cause instanceof PinRefusedError ? cause.refused.get(id) : cause;
        const internal = (): CloacinaError =>
          new CloacinaError('INTERNAL', `execution '${id}' could not be started`, { cause });
        take()?.reject(why instanceof CloacinaError ? why : internal());
      },
    };
  }
}

function unavailable(id: string): StoreUnavailableError {
  return new StoreUnavailableError(
    `the database did not take execution '${id}' within ${patienceMs} ms; it was not started`,
  );
}

function unknownOutcome(id: string): CloacinaError {
  const message = `execution '${id}' was sent to the database, but no answer came within ${patienceMs} ms; look it up by this id before you start it again`;
  return new CloacinaError('OUTCOME_UNKNOWN', message);
}

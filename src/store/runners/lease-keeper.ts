import type { Renew, Renewal } from './renewal.ts';

/** A lease that is kept from outside of the event loop: user code may block the loop for longer than a lease. */
export interface LeaseKept extends Renew {
  /** The time for which a blocked event loop keeps its lease, ms. */
  readonly stallMs: number;
  readonly onRenewal: (renewal: Renewal) => void;
  /** A renewal failed. The next try follows. */
  readonly onFailure: (error: Error) => void;
  /** The event loop has been blocked for `stalledMs`, while these attempts ran. */
  readonly onStall: (stalledMs: number, attempts: readonly string[]) => void;
  /** The keeper has ended: its user has to keep the lease. */
  readonly onGone: (error: Error) => void;
}

export interface LeaseKeeper {
  /** The build ids of the runner have changed. */
  runs(codes: readonly string[]): void;
  /**
   * The time since which a commit has had no answer, by the monotonic clock of the process (see `ClockReading`); null: none
   * waits. A wait longer than a lease ends the lease.
   */
  waitsSince(at: number | null): void;
  /** An attempt of that name runs in the event loop, until a call of the returned function. */
  attempt(name: string): () => void;
  close(): Promise<void>;
}

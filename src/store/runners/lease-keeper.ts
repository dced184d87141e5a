import type { Renew, Renewal } from './renewal.ts';

/** A lease that is kept from outside of the event loop: code of the user may block that for longer than a lease. */
export interface LeaseKept extends Renew {
  /** How long an event loop that stands still keeps its lease, ms. */
  readonly stallMs: number;
  readonly onRenewal: (renewal: Renewal) => void;
  /** A renewal failed, and is tried again. */
  readonly onFailure: (error: Error) => void;
  /** The event loop stood still, for so many ms by now, while these attempts ran. */
  readonly onStall: (stalledMs: number, attempts: readonly string[]) => void;
  /** Nobody keeps the lease any more: whoever asked for it has to. */
  readonly onGone: (error: Error) => void;
}

export interface LeaseKeeper {
  /** What the runner can run has changed. */
  runs(codes: readonly string[]): void;
  /** Since when (epoch ms) a commit has had no answer; null: none waits. One that waits for longer than a lease ends it. */
  waitsSince(at: number | null): void;
  /** An attempt of that name runs in the event loop, until what this gives is called. */
  attempt(name: string): () => void;
  close(): Promise<void>;
}

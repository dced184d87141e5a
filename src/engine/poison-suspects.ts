import type { Claim, ClaimedExecution, Store } from '../store/store.ts';
import { suspectLosses, takeTurn } from './execution/attempts.ts';
import type { Clock } from './clock.ts';
import { Slots } from './slots.ts';

/** The poison suspects of one runner: one at a time is loaded, is asked a question, or runs an attempt. */
export class Suspects {
  readonly slots: Slots;
  readonly #store: Store;
  readonly #clock: Clock;
  /** A poison suspect may wait in the database, because another one had its turn when it could have been claimed. */
  #passedOver = false;

  /** `onTurn`: another poison suspect may be claimed. */
  constructor({ store, clock }: { readonly store: Store; readonly clock: Clock }, onTurn: () => void) {
    this.#store = store;
    this.#clock = clock;
    this.slots = new Slots(1, () => {
      if (!this.#passedOver) return;
      this.#passedOver = false;
      onTurn();
    });
  }

  /**
   * Claims executions. A poison suspect among them is marked in the database as being loaded, and charged if this process
   * dies. So it is claimed only while no other suspect could be the cause, and it has the turn until it is loaded. `adopt`
   * returns whether an execution is in memory now. `contended`: other runners claim the same ones, and may leave some of them.
   */
  async take(
    claim: Claim,
    adopt: (claimed: ClaimedExecution, endTurn: (() => void) | undefined) => boolean,
  ): Promise<{ readonly taken: number; readonly contended: boolean }> {
    const suspects = this.slots.free > 0;
    let endTurn: (() => void) | undefined;
    if (suspects) this.slots.request(0, () => (endTurn = takeTurn({ clock: this.#clock, suspects: this.slots })));
    else this.#passedOver = true;
    let isLoading = false;
    try {
      const claimed = await this.#store.claim({ ...claim, suspects });
      for (const one of claimed) {
        const isSuspect = one.execution.crashCount >= suspectLosses;
        const isHere = adopt(one, isSuspect ? endTurn : undefined);
        isLoading ||= isSuspect && isHere;
      }
      return { taken: claimed.length, contended: claimed.length === 0 && suspects };
    } finally {
      if (!isLoading) endTurn?.();
    }
  }
}

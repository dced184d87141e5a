import type { Claim, ClaimedExecution, Claims } from '../store/store.ts';
import type { Clock } from './clock.ts';
import { Slots } from './slots.ts';

/** A suspect that has run for this long lets the next one begin. */
const suspectTurnMs = 60_000;
/** Crashes without progress after which an execution is a poison suspect. */
export const suspectLosses = 2;

/** Begins the turn of a suspect. The function that is returned ends it and may be called again; a timer ends it at the latest. */
export function takeTurn({ clock, suspects }: { readonly clock: Clock; readonly suspects: Slots }): () => void {
  let over = false;
  const end = (): void => {
    if (over) return;
    over = true;
    timer.cancel();
    suspects.release();
  };
  const timer = clock.timer(suspectTurnMs, end);
  return end;
}

/** The suspects of one runner: one at a time is loaded, is asked something, or runs an attempt. */
export class Suspects {
  readonly slots: Slots;
  readonly #store: Claims;
  readonly #clock: Clock;
  /** A suspect may be left in the database, because another had the turn. */
  #passedOver = false;

  /** `onTurn`: another suspect may be taken. */
  constructor({ store, clock }: { readonly store: Claims; readonly clock: Clock }, onTurn: () => void) {
    this.#store = store;
    this.#clock = clock;
    this.slots = new Slots(1, () => {
      if (!this.#passedOver) return;
      this.#passedOver = false;
      onTurn();
    });
  }

  /**
   * Takes executions. The claim charges a suspect for its loading, in case this process crashes. So a suspect is taken only
   * while no other suspect could be the cause of a crash, and has the turn until it is loaded. `adopt` returns false for an
   * execution that is not kept. `contended`: other runners are taking the same executions, and may leave some of them.
   */
  async take(
    claim: Claim,
    adopt: (claimed: ClaimedExecution, endTurn: (() => void) | undefined) => boolean,
  ): Promise<{ readonly taken: number; readonly contended: boolean }> {
    const suspects = this.slots.free > 0;
    let endTurn: (() => void) | undefined;
    if (suspects) this.slots.request(0, '', () => (endTurn = takeTurn({ clock: this.#clock, suspects: this.slots })));
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

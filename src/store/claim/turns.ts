/** A pending execution, with the values that decide its turn. */
export interface Waiting {
  readonly id: string;
  readonly tenant: string;
  readonly priority: number;
  readonly created_at: number;
}

/**
 * The turns that tenants had, by priority and tenant: a tenant that was served less comes first. A tenant that had nothing
 * to claim does not save turns up: it is at most one turn behind the one that had most.
 */
export class Turns {
  readonly #next = new Map<string, number>();
  /** By priority: the turn of the tenant that had most. */
  readonly #most = new Map<number, number>();

  copy(): Turns {
    const copy = new Turns();
    for (const [key, turn] of this.#next) copy.#next.set(key, turn);
    for (const [priority, turn] of this.#most) copy.#most.set(priority, turn);
    return copy;
  }

  /** The turn that the next execution of a tenant has. */
  of({ priority, tenant }: Waiting): number {
    const floor = (this.#most.get(priority) ?? 0) - 1;
    return Math.max(this.#next.get(`${priority} ${tenant}`) ?? 0, floor);
  }

  /** These were taken. */
  took(taken: readonly Waiting[]): void {
    for (const one of taken) {
      const turn = this.of(one) + 1;
      this.#next.set(`${one.priority} ${one.tenant}`, turn);
      this.#most.set(one.priority, Math.max(this.#most.get(one.priority) ?? 0, turn));
    }
    if (this.#next.size < mostTurns) return;
    // what is forgotten counts as one turn behind
    this.#next.clear();
    this.#most.clear();
  }
}

/** Tenants whose turns are remembered. */
const mostTurns = 10_000;

/**
 * The highest priority first; within one priority tenants take turns, each with its oldest. Within a turn the oldest
 * execution comes first.
 */
export function inFairOrder<One extends Waiting>(found: readonly One[], turns: Turns): readonly One[] {
  const oldest = found.toSorted((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1));
  const given = new Map<string, number>();
  const placed = oldest.map((one) => {
    const key = `${one.priority} ${one.tenant}`;
    const turn = given.get(key) ?? turns.of(one);
    given.set(key, turn + 1);
    return { one, turn };
  });
  placed.sort((a, b) => b.one.priority - a.one.priority || a.turn - b.turn);
  return placed.map(({ one }) => one);
}

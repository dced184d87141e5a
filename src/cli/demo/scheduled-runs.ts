import { formatMs } from '../../core/duration.ts';
import { isEnded } from '../../core/execution/states.ts';
import type { Client } from '../../open.ts';
import type { SlotSummary } from '../../schedule/schedules.ts';
import type { Story } from './narration.ts';

/** Maximum number of slots between two polls. */
const slotLimit = 100;

/** Reports the executions of one schedule when they end, in the order of their slots. */
export class ScheduledRuns {
  readonly #client: Client;
  readonly #schedule: string;
  readonly #story: Story;
  readonly #since: number;
  readonly #told = new Set<number>();

  /** Executions that ended before `since` (epoch ms) are not reported. */
  constructor(client: Client, schedule: string, story: Story, since: number) {
    this.#client = client;
    this.#schedule = schedule;
    this.#story = story;
    this.#since = since;
  }

  /** Reports new ends and returns the number of open executions. */
  async look(): Promise<number> {
    const newestFirst = await this.#client.schedules.history(this.#schedule, { limit: slotLimit });
    let open = 0;
    for (const entry of newestFirst.toReversed()) {
      if (this.#told.has(entry.slot)) continue;
      if (entry.executionId === null) this.#tellUnstarted(entry);
      else if (entry.status !== null && isEnded(entry.status)) await this.#tellEnded(entry, entry.executionId);
      else open++;
    }
    return open;
  }

  /** Reports a slot that started no execution although a runner was up. */
  #tellUnstarted({ slot, outcome, reason, error }: SlotSummary): void {
    if (slot < this.#since || (outcome !== 'skipped' && outcome !== 'failed')) return;
    this.#told.add(slot);
    const why = error === null ? 'the previous execution had not ended' : `${error.code} ${error.message}`;
    this.#story.tell(outcome, { slot: new Date(slot).toISOString(), reason, error }, [
      `${timeOfDay(slot)}  ${outcome}: ${why}`,
    ]);
  }

  async #tellEnded({ slot, isCatchUp }: SlotSummary, id: string): Promise<void> {
    this.#told.add(slot);
    const { status, error, createdAt, startedAt, endedAt } = await this.#client.executions.get(id);
    if (endedAt === null || endedAt < this.#since) return;
    const ms = endedAt - (startedAt ?? createdAt);
    const fields = { executionId: id, slot: new Date(slot).toISOString(), isCatchUp, status, ms, error };
    const late = isCatchUp ? ', catching up on a slot that came while no runner was up' : '';
    const why = error === null ? '' : `: ${error.code} ${error.message}`;
    this.#story.tell('execution', fields, [`${timeOfDay(slot)}  ${id}  ${status} in ${formatMs(ms)}${late}${why}`]);
  }
}

/** In UTC: `14:30:00`, with milliseconds unless they are 0. */
export function timeOfDay(at: number): string {
  return new Date(at).toISOString().slice(11, at % 1000 === 0 ? 19 : 23);
}

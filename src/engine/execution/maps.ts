import { isCancelledByName } from '../../core/execution/commands.ts';
import { isTaskEnded } from '../../core/execution/states.ts';
import { boundTaskError } from '../../core/task-error.ts';
import { toTaskError } from '../../core/foreign/thrown.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { TaskState } from '../../store/transition.ts';
import type { Attempts } from './attempts.ts';
import type { Clock } from '../clock.ts';
import type { Outcome } from '../workflow-code.ts';
import type { LiveState, MapRun } from './live-state.ts';
import type { OfferBudget } from '../sharing/offer-budget.ts';
import { mapItemsOf } from './map-items.ts';
import { ended, idle, isActive } from './phase.ts';
import type { Phase } from './phase.ts';
import { isOver, newTaskRun, restoreTaskRun, settledText } from './task-run.ts';
import type { TaskRun } from './task-run.ts';
import type { Waits } from './waits.ts';

/** The parts of the task graph that maps use. */
export interface MapsOwner {
  /** Asks the map's `over`. */
  over(run: TaskRun): Promise<Outcome>;
  completed(run: TaskRun): void;
  failed(run: TaskRun, error: TaskError): void;
}

export interface MapsOptions {
  /** Items of a map that one commit writes. */
  readonly itemsPerCommit: number;
  readonly state: LiveState;
  readonly attempts: Attempts;
  readonly waits: Waits;
  readonly clock: Clock;
  readonly maxPayload: number;
  /** Limits the concurrent items of a map without a limit of its own. */
  readonly offers: OfferBudget;
  readonly owner: MapsOwner;
}

/** Items written by one commit: rows, and characters of JSON. */
/** Items of a map that one commit writes, by default. */
export const itemsPerCommit = 1000;
const chunkLength = 2_097_152;
/**
 * The longest output of a map, in characters of JSON (128 Mi). A string of V8 has at most 2^29. Escaped within a parameter
 * of PostgreSQL the output is up to twice as long, and a row there has at most 1 GB.
 */
const longestOutput = 134_217_728;

/** The maps of one live execution: makes their items durable, runs a limited number at once, and gathers the outputs. */
export class Maps {
  readonly #options: MapsOptions;
  readonly #state: LiveState;
  /** Maps with items in the database that an unfinished write has left; they do not count. */
  readonly #leftover = new Set<number>();
  /** Maps with some items written, and some not. */
  readonly #unfinished = new Set<number>();

  constructor(options: MapsOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  /**
   * Asks for the items, makes them durable, and begins with them. A map that a retry has restored has its items; it waited
   * for the needs that the retry has opened again.
   */
  async begin(run: TaskRun): Promise<void> {
    const restored = this.#state.maps?.get(run.index);
    if (restored !== undefined) return this.resume(restored);
    await this.#state.asking(
      run,
      () => this.#options.owner.over(run),
      (outcome) => this.#begun(run, outcome),
    );
  }

  #begun(run: TaskRun, outcome: Outcome): void {
    if (isOver(this.#state, run)) return;
    const { owner, clock } = this.#options;
    const items = outcome.status === 'completed' ? this.#itemsOf(run, outcome.output) : outcome.error;
    if (Array.isArray(items)) {
      run.startedAt = clock.now();
      run.attempt++;
      this.#persist(run, items, 0);
    } else {
      owner.failed(run, items);
    }
  }

  /** The items as task runs, or the error if there are none. */
  #itemsOf(run: TaskRun, text: string): TaskRun[] | TaskError {
    const { name } = run.spec;
    let values: string[] | null;
    try {
      values = mapItemsOf(text, name);
    } catch (error) {
      return toTaskError(error);
    }
    if (values === null)
      return { name: 'Error', code: 'TASK_FAILED', message: `'over' of map '${name}' did not return an array` };
    const items: TaskRun[] = [];
    for (const [item, itemText] of values.entries()) {
      const bytes = itemText.length * 3 > this.#options.maxPayload ? Buffer.byteLength(itemText) : 0;
      if (bytes > this.#options.maxPayload) {
        const message = `item ${item} of map '${name}' has ${bytes} bytes, more than the limit of ${this.#options.maxPayload} (option maxPayload)`;
        return { name: 'PayloadTooLargeError', code: 'PAYLOAD_TOO_LARGE', message };
      }
      items.push({ ...newTaskRun(run.index, run.spec), item, value: itemText });
    }
    return items;
  }

  /** Writes the items in several commits. The row of the map comes last and makes them count. */
  #persist(run: TaskRun, items: readonly TaskRun[], from: number): void {
    const { draft } = this.#state;
    if (this.#leftover.delete(run.index)) draft.effects.itemsDropped.push(run.spec.name);
    let to = from;
    for (let length = 0; to < items.length && to - from < this.#options.itemsPerCommit && length < chunkLength; to++) {
      draft.task(items[to]!);
      length += items[to]!.value!.length;
    }
    if (to < items.length) {
      this.#unfinished.add(run.index);
      const writing: Phase = { is: 'asking' };
      this.#state.move(run, writing);
      this.#state.after(() => {
        if (run.phase === writing) this.#state.move(run, idle);
        if (isOver(this.#state, run)) this.#leave(run.index);
        else this.#persist(run, items, to);
      });
      return;
    }
    this.#unfinished.delete(run.index);
    run.status = 'running';
    draft.task(run);
    draft.event('task.started', run.startedAt!, run, { items: items.length });
    const map = this.#add(run, items);
    this.#state.after(() => {
      map.durable = true;
      this.resume(map);
    });
    if (items.length === 0) this.#gather(map);
  }

  #add(run: TaskRun, items: readonly TaskRun[]): MapRun {
    const open = items.reduce((count, item) => count + Number(!isTaskEnded(item.status)), 0);
    const map: MapRun = { run, items, durable: false, next: 0, again: [], active: 0, open, failed: null };
    (this.#state.maps ??= new Map()).set(run.index, map);
    return map;
  }

  /** Restores a map from its rows. */
  restore(run: TaskRun, states: readonly TaskState[]): void {
    if (run.status !== 'running') {
      if (states.length > 0) this.#leftover.add(run.index);
      return;
    }
    const items = states.toSorted((a, b) => a.item - b.item).map((state) => restoreTaskRun(run.index, run.spec, state));
    const map = this.#add(run, items);
    map.durable = true;
    for (const item of items) {
      if (item.status !== 'running') continue;
      const error = this.#options.attempts.cutOff(item);
      if (error !== null) this.#itemFailed(map, item, error);
    }
    if (run.spec.map?.settled !== true) map.failed ??= items.find((item) => item.status === 'failed') ?? null;
  }

  /** Begins with as many items as the limit allows. */
  resume(map: MapRun): void {
    if (this.#state.still || !map.durable || isTaskEnded(map.run.status)) return;
    if (this.#state.progress.unmet[map.run.index] !== 0) return;
    if (map.failed !== null || map.open === 0) {
      this.#consider(map);
      return;
    }
    const { attempts, waits } = this.#options;
    while (map.active < this.#limit(map)) {
      const item = map.again.shift() ?? map.items[map.next++];
      if (item === undefined) {
        map.next = map.items.length;
        break;
      }
      if (item.status === 'waiting') waits.resume(item);
      if (item.status !== 'pending' || item.phase.is !== 'idle') continue;
      map.active++;
      attempts.begin(item);
    }
  }

  /** Looks at every item again after the execution was held. */
  resumeAll(): void {
    for (const map of this.#state.maps?.values() ?? []) {
      map.next = 0;
      map.again.length = 0;
      map.active = map.items.reduce((count, item) => count + Number(isActive(item.phase)), 0);
      this.resume(map);
    }
  }

  /** The limit of concurrent items may have grown. */
  resumeSome(): void {
    for (const map of this.#state.maps?.values() ?? []) this.resume(map);
  }

  /** An item was running when its runner was lost, and no attempt may follow. */
  cutShort(item: TaskRun, error: TaskError): void {
    const map = this.#mapOf(item);
    if (map !== undefined) this.#itemFailed(map, item, error);
  }

  #limit({ run }: MapRun): number {
    return run.spec.map?.concurrency ?? this.#options.offers.itemsAtOnce(run.spec);
  }

  /** The next attempt of an item may begin: its delay is over. */
  woken(item: TaskRun): void {
    const map = this.#mapOf(item);
    item.status = 'pending';
    if (map === undefined) return;
    map.again.push(item);
    this.resume(map);
  }

  /** An item waits for its next attempt: another item may run in its place. */
  retrying(item: TaskRun): void {
    const map = this.#mapOf(item);
    if (map === undefined) return;
    map.active--;
    if (map.failed === null) this.#state.after(() => this.resume(map));
    else this.#consider(map);
  }

  completed(item: TaskRun): void {
    this.#state.recordEnd(item, this.#options.clock.now());
    const map = this.#mapOf(item);
    if (map !== undefined) this.#ended(map);
  }

  failed(item: TaskRun, error: TaskError): void {
    const map = this.#mapOf(item);
    if (map === undefined) return;
    this.#itemFailed(map, item, error);
    this.#ended(map, false);
  }

  /** Cancels every open item. One statement writes all of those that never began. */
  close(index: number): void {
    const map = this.#state.maps?.get(index);
    if (map === undefined) {
      this.#dropPartial(index);
      return;
    }
    const now = this.#options.clock.now();
    let untouched = false;
    for (const item of map.items) {
      if (isTaskEnded(item.status)) continue;
      const isNamed = isCancelledByName(item.status, true);
      item.status = 'cancelled';
      if (isNamed) this.#state.recordEnd(item, now);
      else {
        this.#state.move(item, ended);
        untouched = true;
      }
    }
    if (untouched) this.#state.draft.effects.itemsCancelled.push({ task: map.run.spec.name, at: now });
    this.#state.maps?.delete(index);
  }

  /** The execution was held while items were being written: they do not count, and `over` will be asked again. */
  #leave(index: number): void {
    if (!this.#unfinished.delete(index)) return;
    this.#leftover.add(index);
  }

  /** Removes the items of a map that ends before all were written: a retry would take them for all items. */
  #dropPartial(index: number): void {
    const { draft, graph } = this.#state;
    const isPartial = [this.#unfinished.delete(index), this.#leftover.delete(index)].includes(true);
    if (!isPartial) return;
    draft.withdrawItems(index);
    draft.effects.itemsDropped.push(graph.names[index]!);
  }

  #mapOf(item: TaskRun): MapRun | undefined {
    return this.#state.maps?.get(item.index);
  }

  #itemFailed(map: MapRun, item: TaskRun, error: TaskError): void {
    item.status = 'failed';
    item.error = error;
    item.output = null;
    this.#state.recordEnd(item, this.#options.clock.now());
    map.open--;
    if (map.run.spec.map?.settled !== true) map.failed ??= item;
  }

  #ended(map: MapRun, counts = true): void {
    map.active--;
    if (counts) map.open--;
    if (map.failed !== null || map.open === 0) this.#consider(map);
    else if (map.active < this.#limit(map)) this.#state.after(() => this.resume(map));
  }

  /** Ends the map if all items have ended, or if one has failed for good and no other is active. */
  #consider(map: MapRun): void {
    if (isTaskEnded(map.run.status)) return;
    if (map.failed === null) {
      if (map.open === 0) this.#gather(map);
      return;
    }
    if (map.active > 0) return;
    const { failed, run } = map;
    const { error, item } = failed;
    this.close(run.index);
    const message = `item ${item} of map '${run.spec.name}' failed: ${error!.message}`;
    this.#options.owner.failed(run, boundTaskError({ name: 'Error', code: error!.code, message, cause: error! }));
  }

  #gather(map: MapRun): void {
    const { run, items } = map;
    const { owner } = this.#options;
    const settled = run.spec.map?.settled === true;
    const texts = items.map((item) => (settled ? settledText(item) : (item.output ?? 'null')));
    // the sum comes first: joining texts beyond the limit of a string throws
    const length = texts.reduce((sum, text) => sum + text.length + 1, 1);
    this.#state.maps?.delete(run.index);
    if (length > longestOutput) {
      owner.failed(run, tooLong(run, length));
    } else {
      run.status = 'completed';
      run.output = `[${texts.join(',')}]`;
      owner.completed(run);
    }
  }
}

function tooLong({ spec }: TaskRun, length: number): TaskError {
  const message = `the outputs of the items of map '${spec.name}' have ${length} characters of JSON together, and at most ${longestOutput} can be stored; return references to large values`;
  return { name: 'Error', code: 'OUTPUT_TOO_LARGE', message };
}

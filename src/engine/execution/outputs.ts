import type { Graph } from '../../core/definition/graph.ts';
import type { TaskRun } from './task-run.ts';

/** The longest output, in characters, that is kept in memory for callers that wait for the result. */
const keptLength = 512;
/** The limit of these outputs in all. */
const keptInAll = 4096;

/** Drops outputs from memory that no unfinished task needs. The database has them. */
export class Outputs {
  readonly #graph: Graph;
  readonly #readers: Int32Array;
  readonly #returned: number;
  #kept = 0;
  #complete = true;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#readers = graph.readerCounts.slice();
    this.#returned = graph.spec.output === null ? -1 : graph.indexOf.get(graph.spec.output.task)!;
  }

  /** Every output is still in memory. */
  get complete(): boolean {
    return this.#complete;
  }

  /** The end of a task is durable: an output that it read may have no reader left, nor may its own. */
  taskEnded(runs: readonly (TaskRun | undefined)[], index: number): void {
    const seen = new Set<number>();
    for (const need of this.#graph.needs[index]!) {
      if (seen.has(need.task)) continue;
      seen.add(need.task);
      this.#readers[need.task]!--;
      this.#consider(runs[need.task]);
    }
    this.#consider(runs[index]);
  }

  #consider(run: TaskRun | undefined): void {
    if (run?.output === undefined || run.output === null) return;
    if (this.#readers[run.index] !== 0 || run.index === this.#returned) return;
    if (run.output.length <= keptLength && this.#kept + run.output.length <= keptInAll) {
      this.#kept += run.output.length;
      return;
    }
    run.output = null;
    this.#complete = false;
  }
}

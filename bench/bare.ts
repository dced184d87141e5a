import { EngineClient } from '../src/engine/client/client.ts';
import { newId } from '../src/engine/id.ts';
import type { Engine } from '../src/engine/engine.ts';
import type { AnyWorkflow } from '../src/index.ts';
import { runnerSettings } from '../src/options.ts';
import type { Batch, Transition } from '../src/store/transition.ts';
import { openStore } from '../src/store/open.ts';
import type { Store } from '../src/store/store.ts';
import { run } from '../src/run.ts';
import { inFolder, median, round } from './measure.ts';

/** The limit of the database: a loop that commits the same rows with the same group commit, without an engine. */
export interface Bare {
  /** Executions a second, by the number committed together. */
  readonly perSecond: ReadonlyMap<number, number>;
  /** Median ms of the commit of one execution's next step; 0 if width 1 was not measured. */
  readonly commitMs: number;
}

/** Records the commits of the engine for one execution, then repeats them for other executions without an engine. */
export async function bareLimit(
  workflow: AnyWorkflow,
  widths: readonly number[],
  totals: ReadonlyMap<number, number>,
): Promise<Bare> {
  return inFolder(async (folder) => {
    const store = await openStore(`sqlite:${folder}/bare.db`);
    const { steps, engine } = await record(store, workflow);
    const runner = engine.id;
    const perSecond = new Map<number, number>();
    const commits: number[] = [];
    for (const width of widths) {
      const rounds = Math.ceil(totals.get(width)! / width);
      const from = performance.now();
      for (let i = 0; i < rounds; i++)
        await commitRound(store, runner, steps, width, width === 1 ? commits : undefined);
      perSecond.set(width, Math.round(((rounds * width) / (performance.now() - from)) * 1000));
    }
    await engine.close(0);
    await store.close();
    return { perSecond, commitMs: commits.length === 0 ? 0 : round(median(commits)) };
  });
}

export async function record(
  store: Store,
  workflow: AnyWorkflow,
): Promise<{ steps: readonly Transition[]; engine: Engine }> {
  const steps: Transition[] = [];
  const recording: Store = {
    ...store,
    commit: (batch: Batch) => (steps.push(...batch.transitions), store.commit(batch)),
  };
  const running = await run(recording, runnerSettings({ workflows: [workflow], schedules: false }));
  await new EngineClient(running.parts.client).execute(workflow);
  return { steps, engine: running.engine };
}

async function commitRound(
  store: Store,
  runner: string,
  steps: readonly Transition[],
  width: number,
  times?: number[],
): Promise<void> {
  const ids = Array.from({ length: width }, () => newId(Date.now()));
  for (const step of steps) {
    const transitions = ids.map((id) => withId(step, id));
    const from = performance.now();
    await store.commit({ runner, lane: 0, n: 0, transitions });
    times?.push(performance.now() - from);
  }
}

export function withId(step: Transition, id: string): Transition {
  return step.create === null ? { ...step, id } : { ...step, id, create: { ...step.create, id, rootId: id } };
}

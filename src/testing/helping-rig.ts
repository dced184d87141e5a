import type { AnyWorkflow } from '../core/definition/definition.ts';
import { all } from '../store/script.ts';
import type { Store } from '../store/store.ts';
import { ManualClock } from './clock.ts';
import { openRig, openStores } from './engine-rig.ts';
import type { Cleanup, Rig, RigOptions } from './engine-rig.ts';

type Opened = Rig<ManualClock>;
type Options = Omit<RigOptions<ManualClock>, 'clock' | 'store' | 'workflows'>;

/**
 * Runners on one database that know each other, and a spare connection; `build` returns the workflows of each runner by
 * its name.
 */
export async function openRunners(
  t: Cleanup,
  build: (who: string, clock: ManualClock) => readonly AnyWorkflow[],
  each: Readonly<Record<string, Options>>,
): Promise<{ clock: ManualClock; rigs: Opened[]; store: Store; spare: Store }> {
  const clock = new ManualClock();
  const names = Object.keys(each);
  const stores = await openStores(t, names.length + 1, clock);
  const rigs: Opened[] = [];
  for (const [i, who] of names.entries()) {
    rigs.push(await openRig(t, { workflows: build(who, clock), store: stores[i]!, clock, graceMs: 100, ...each[who] }));
  }
  await clock.advance(1000);
  return { clock, rigs, store: stores[0]!, spare: stores.at(-1)! };
}

/** Offers that are open, or taken and not answered. */
export const offersIn = (
  store: Store,
): Promise<readonly { readonly helper: string | null; readonly attempt: number }[]> =>
  store.read(() => all('select * from offers'));

/** The work of a task's function. */
export const takes = (clock: ManualClock, ms: number): Promise<void> =>
  new Promise((resolve) => clock.timer(ms, resolve));

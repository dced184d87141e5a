import { changedTasks } from '../../core/execution/continuing.ts';
import type { Claims, Definitions, RetiredExecution } from '../../store/store.ts';
import type { LoadedWorkflow } from '../catalog.ts';

/** Maximum number of executions that one look takes up. */
const atOnce = 100;

export interface Settled {
  /** Executions that can go on under the definitions that are here. */
  readonly adopted: number;
  /** Executions that were held. */
  readonly held: number;
}

/**
 * Executions of embedded workflows that wait for a definition which no living runner has any more: those that another
 * definition can go on with are given to it, the others are held (DEFINITION_CHANGED). One look takes up some of them; there
 * may be more until a look settles none.
 */
export async function moveRetiredExecutions(
  store: Claims & Definitions,
  embedded: readonly LoadedWorkflow[],
): Promise<Settled> {
  const settled = { adopted: 0, held: 0 };
  if (embedded.length === 0) return settled;
  const byName = new Map(embedded.map((loaded) => [loaded.graph.spec.name, loaded]));
  const found = await store.executionsOnRetiredBuilds(
    embedded.map(({ buildId }) => buildId),
    atOnce,
  );
  for (const [code, strays] of Map.groupBy(found, (stray) => stray.buildId)) {
    const loaded = byName.get(strays[0]!.workflow);
    if (loaded === undefined) continue;
    const { graph, buildId } = loaded;
    const before = await store.definition(code);
    const { go = [], hold = [] } = Object.groupBy(strays, ({ begun }) =>
      before !== undefined && changedTasks(before, graph.spec, begun).length === 0 ? 'go' : 'hold',
    );
    if (go.length > 0) settled.adopted += await store.moveToBuild(idsOf(go), code, buildId);
    if (hold.length > 0) settled.held += await store.holdChanged(idsOf(hold), code);
  }
  return settled;
}

function idsOf(strays: readonly RetiredExecution[]): readonly string[] {
  return strays.map(({ id }) => id);
}

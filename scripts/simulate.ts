// npm run simulate -- [--seeds N] [--seed N [--trace]] simulates a small cluster for each seed. A seed that fails
// replays exactly.
import { parseArgs } from 'node:util';
import { simulate } from '../test/simulation/simulate.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    seed: { type: 'string' },
    from: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
  },
});
const first = Number(values.seed ?? values.from);
const last = values.seed === undefined ? first + Number(values.seeds) - 1 : first;
const startedAt = performance.now();
let failed = 0;
for (let seed = first; seed <= last; seed++) {
  try {
    const simulated = await simulate(seed, values.trace);
    if (values.seed !== undefined) console.log(simulated);
  } catch (error) {
    failed += 1;
    console.error(`seed ${seed} breaks an invariant; again: npm run simulate -- --seed ${seed}`);
    console.error(error);
  }
  if (seed % 100 === 0)
    console.log(`${seed} seeds, ${failed} failed, ${Math.round((performance.now() - startedAt) / 1000)} s`);
}
console.log(failed === 0 ? `All of ${last - first + 1} seeds kept every invariant.` : `${failed} seeds failed.`);
process.exitCode = failed === 0 ? 0 : 1;

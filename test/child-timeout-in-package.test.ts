import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { Runner } from '../src/open.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import { endAll, runCli } from './cli/run-cli.ts';

after(endAll);

const about = { name: 'slow', version: '1.0.0', type: 'module', cloacina: { entry: 'src/index.ts' } };
const source = `import { settled, workflow } from 'cloacina';
const night = workflow('night');
export const nights = night.returns(night.sleep('sleep', { for: '1d' }));
const day = workflow('day');
const kid = day.child('kid', nights, { input: () => ({}), timeout: '20ms' });
const code = day.task('code', { needs: { kid: settled(kid) } }, ({ needs }) =>
  needs.kid.status === 'failed' ? needs.kid.error.code : needs.kid.status);
export const days = day.returns(code);
`;

it('engine.md, Child: the child of a packaged workflow is cancelled after its timeout', async (t) => {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'src'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify(about));
  writeFileSync(join(folder, 'src', 'index.ts'), source);
  const packed = join(folder, 'slow.cloacina');
  const pack = await runCli(folder, ['package', 'pack', folder, '-o', packed]);
  assert.equal(pack.code, 0, pack.stderr);
  const runner = await Runner.open(`sqlite:${join(folder, 'app.db')}`, {
    registry: `file:${join(folder, 'packages')}`,
  });
  release(t, () => runner.close());
  await runner.registry.register(readFileSync(packed));
  const { id } = await runner.start('day', {});
  assert.equal((await runner.handle<string>(id).result()).output, 'TASK_TIMED_OUT');
  const { items } = await runner.executions.list({ workflow: 'night' });
  assert.deepEqual(
    items.map(({ status }) => status),
    ['cancelled'],
  );
});

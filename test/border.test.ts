import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { openPackaged } from './border/packaged.ts';

/** What a schema library brings along, as a package has it bundled. */
const schema = `const schema = { '~standard': { version: 1, vendor: 'own', validate: (value) => typeof value?.by === 'string'
  ? { value: { by: value.by, seen: true } } : { issues: [{ message: 'a name is needed', path: ['by'] }] } } };\n`;
const beginning = `import { workflow } from 'cloacina';\nconst w = workflow('w');\n`;

describe('packages.md, limits: a signal for a packaged wait is judged by its schema', () => {
  it('one that does not fit is dropped with a warning; the next, which fits, goes on as the schema made it', async (t) => {
    const wait = `const approved = w.wait('approved', { signal: 'approved', schema, timeout: '1m' });
      export const flow = w.returns(w.task('after', { needs: { approved } }, ({ needs }) => needs.approved));`;
    const { runner, logged } = await openPackaged(t, beginning + schema + wait);
    const handle = await runner.start('w');
    await runner.signal(handle.id, 'approved', { by: 7 });
    await runner.signal(handle.id, 'approved', { by: 'Ada' });
    const { output } = await handle.result();
    assert.deepEqual(output, { by: 'Ada', seen: true });
    const dropped = logged.filter(({ message }) => message.includes('does not fit the schema'));
    assert.equal(dropped.length, 1);
    await setTimeout(0);
    const again = await runner.start('w');
    await runner.signal(again.id, 'approved', { by: 'Bea' });
    assert.deepEqual((await again.result()).output, { by: 'Bea', seen: true }, 'the runner goes on');
  });
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeInIsolate } from '../src/cli/describe.ts';
import { Client, Runner } from '../src/index.ts';
import { buildPackage } from '../src/package/pack/build.ts';
import { clientSuite, suiteWorkflows } from './client/suite.ts';
import type { ClientPlace } from './client/suite.ts';

clientSuite('a runner, a client that also executes', async () => {
  const { database, registry, pack, remove } = place();
  const runner = await Runner.open(database, { registry, workflows: suiteWorkflows });
  const close = async (): Promise<void> => {
    await runner.close();
    remove();
  };
  return { client: runner, pack, close };
});

clientSuite('a client straight on the database, beside a runner', async () => {
  const { database, registry, pack, remove } = place();
  const runner = await Runner.open(database, { registry, workflows: suiteWorkflows });
  const client = await Client.open(database, { registry });
  const close = async (): Promise<void> => {
    await client.close();
    await runner.close();
    remove();
  };
  return { client, pack, close };
});

function place(): { database: string; registry: string; pack: ClientPlace['pack']; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'cloacina-client-'));
  const pack = async (name: string, source: string): Promise<Uint8Array> => {
    const project = join(folder, name);
    mkdirSync(project, { recursive: true });
    const about = { name, version: '1.0.0', type: 'module', cloacina: { entry: 'index.mjs' } };
    writeFileSync(join(project, 'package.json'), JSON.stringify(about));
    writeFileSync(join(project, 'index.mjs'), source);
    return (await buildPackage(project, { describe: describeInIsolate })).bytes;
  };
  const remove = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  return { database: `sqlite:${join(folder, 'suite.db')}`, registry: `file:${join(folder, 'packages')}`, pack, remove };
}

import { parseEnv } from 'node:util';
import type { PackageMemory } from '../../options.ts';
import type { BuiltPackage } from '../../package/pack/build.ts';
import { readBytes } from '../arguments.ts';

/** The environment of code that is packed: variables of this process take precedence over the file, as in Node. */
type Environment = Readonly<Record<string, string | undefined>>;

/** Builds the package of a project folder; the code sees the variables that it asks for. Throws the errors of packing. */
export async function buildProject(
  dir: string,
  envFile: string | undefined,
  memory?: PackageMemory,
): Promise<{ readonly built: BuiltPackage; readonly environment: Environment }> {
  const [{ buildPackage }, { describeInIsolate }] = await Promise.all([
    import('../../package/pack/build.ts'),
    import('../describe.ts'),
  ]);
  const environment = envFile === undefined ? process.env : await withEnvFile(envFile);
  const built = await buildPackage(dir, { describe: (code) => describeInIsolate(code, environment, memory) });
  return { built, environment };
}

async function withEnvFile(file: string): Promise<Environment> {
  const text = Buffer.from(await readBytes(file)).toString('utf8');
  return { ...parseEnv(text), ...process.env };
}

import { parseEnv } from 'node:util';
import { Option } from 'commander';
import { indented } from '../../core/plain.ts';
import type { PackageMemory } from '../../options.ts';
import type { BuiltPackage } from '../../package/pack/build.ts';
import type { Cli } from '../cli.ts';
import { readBytes } from '../arguments.ts';
import { paint } from '../output.ts';

/** The environment of code that is packed: variables of this process take precedence over the file, as in Node. */
type Environment = Readonly<Record<string, string | undefined>>;

export interface BuildOptions {
  readonly envFile?: string;
  readonly packageMemory?: PackageMemory;
}

export function envFileOption(): Option {
  return new Option('--env-file <file>', 'environment for code that reads it while loading; lines of NAME=VALUE');
}

/**
 * Builds the package of a project folder, and prints the warnings; the code sees the variables that it asks for. Throws the
 * errors of packing.
 */
export async function buildProject(
  cli: Cli,
  dir: string,
  { envFile, packageMemory }: BuildOptions,
): Promise<{ readonly built: BuiltPackage; readonly environment: Environment }> {
  const [{ buildPackage }, { describeInIsolate }] = await Promise.all([
    import('../../package/pack/build.ts'),
    import('../describe.ts'),
  ]);
  const environment = envFile === undefined ? process.env : await withEnvFile(envFile);
  const built = await buildPackage(dir, { describe: (code) => describeInIsolate(code, environment, packageMemory) });
  for (const warning of built.warnings) {
    cli.output.note(`${paint('yellow', 'warning', process.stderr)} ${indented(warning)}`);
  }
  return { built, environment };
}

async function withEnvFile(file: string): Promise<Environment> {
  const text = Buffer.from(await readBytes(file)).toString('utf8');
  return { ...parseEnv(text), ...process.env };
}

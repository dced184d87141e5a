import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json. */
export const root: string = dirname(import.meta.dirname);

/** The output of a program, in order, and its exit code. */
export interface Ran {
  /** Also 1 if a signal ended the program. */
  readonly exitCode: number;
  readonly output: string;
}

/**
 * The file of a command of an installed package, to be run with this Node. `node_modules/.bin` holds shell shims on
 * Windows, which would need a shell.
 */
export function toolFile(packageName: string, command: string = packageName): string {
  const folder = join(root, 'node_modules', packageName);
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { bin: Record<string, string> };
  const file = manifest.bin[command];
  if (file === undefined) throw new Error(`The package ${packageName} has no command ${command}.`);
  return join(folder, file);
}

/** Runs a script with this Node and collects its output. */
export function runNode(file: string | URL, args: readonly string[]): Promise<Ran> {
  const { promise, resolve, reject } = Promise.withResolvers<Ran>();
  const script = typeof file === 'string' ? file : fileURLToPath(file);
  const child = spawn(process.execPath, [script, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.on('error', reject);
  child.on('close', (code) => resolve({ exitCode: code ?? 1, output: Buffer.concat(chunks).toString('utf8') }));
  return promise;
}

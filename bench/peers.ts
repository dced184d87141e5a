import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('peers/', import.meta.url));

/**
 * Runs the comparison in `bench/peers` and returns its exit code. Its dependencies are separate: they are installed
 * there from its lockfile if they are missing. Its types are checked before each run, because they exist only then.
 */
export async function comparePeers(args: readonly string[]): Promise<number> {
  if (!existsSync(`${folder}node_modules`)) {
    const npm = process.env['npm_execpath'];
    const install = ['ci', '--no-audit', '--no-fund'];
    const code = npm === undefined ? await run('npm', install) : await run(process.execPath, [npm, ...install]);
    if (code !== 0) return code;
  }
  const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url));
  const typed = await run(process.execPath, [tsc, '-p', 'tsconfig.json']);
  return typed === 0 ? run(process.execPath, ['main.ts', ...args]) : typed;
}

async function run(program: string, args: readonly string[]): Promise<number> {
  const child = spawn(program, args, { cwd: folder, stdio: 'inherit', shell: program === 'npm' });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}

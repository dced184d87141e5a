import { existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { root } from '../../scripts/tool.ts';
import { runProgram } from '../docs/steps.ts';

/** A Node with the npm of the host, as a user of the package has it. */
export interface Toolchain {
  readonly node: string;
  /** `npm-cli.js` and `npx-cli.js`. */
  readonly npm: string;
  readonly npx: string;
  /** That Node first on the path, without paths of this project or of the npm that started its tests. */
  readonly env: NodeJS.ProcessEnv;
}

/** The newest Node that the package supports; raised by hand. */
export const newerNode = '26.10.0';

/** The location of npm's own settings; its other environment variables would mislead another npm. */
const machineSettings =
  /^npm_config_(registry|cache|userconfig|globalconfig|cafile|proxy|https?_proxy|https-proxy|noproxy)$/i;

export function toolchain(node: string): Toolchain {
  const npm = npmFile();
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|node_options$|node_test|init_cwd$|cloacina_|path$)/i.test(name) || machineSettings.test(name),
  );
  const path = searchPath().filter((folder) => !folder.startsWith(root));
  // npx runs the installed package, and never fetches one of that name from the registry
  const env = { ...Object.fromEntries(kept), npm_config_yes: 'false', PATH: [dirname(node), ...path].join(delimiter) };
  return { node, npm, npx: join(dirname(npm), 'npx-cli.js'), env };
}

/** The npm that runs this test, or else the first one on the path. */
function npmFile(): string {
  const running = process.env['npm_execpath'];
  if (running !== undefined && basename(running) === 'npm-cli.js') return running;
  for (const folder of searchPath()) {
    const beside = join(folder, 'node_modules', 'npm', 'bin', 'npm-cli.js'); // Windows
    if (existsSync(beside)) return beside;
    const command = join(folder, 'npm');
    if (existsSync(command) && basename(realpathSync(command)) === 'npm-cli.js') return realpathSync(command);
  }
  throw new Error('There is no npm on the path.');
}

function searchPath(): readonly string[] {
  return (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
}

/** Runs npm to its end. Throws with its whole output if it fails. */
export async function runNpm(tools: Toolchain, args: readonly string[], folder: string): Promise<string> {
  const { exitCode, output } = await runProgram(tools.node, [tools.npm, ...args], folder, tools.env);
  if (exitCode !== 0) throw new Error(`npm ${args.join(' ')} ended with ${exitCode}:\n${output}`);
  return output;
}

/** The reason why npm's registry cannot be reached; undefined if it can. */
export async function registryProblem(tools: Toolchain, folder: string): Promise<string | undefined> {
  const args = ['view', 'commander', 'name', '--prefer-online', '--fetch-retries=1', '--fetch-timeout=10000'];
  const { exitCode, output } = await runProgram(tools.node, [tools.npm, ...args], folder, tools.env);
  return exitCode === 0
    ? undefined
    : `npm's registry cannot be reached: ${/code (\S+)/.exec(output)?.[1] ?? output.trim()}`;
}

/** The Node of a version, installed from npm once and kept in this checkout. */
export async function installedNode(tools: Toolchain, version: string): Promise<string> {
  const folder = join(root, '.tmp', `node-${version}`);
  const file = join(folder, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, allowScripts: { node: true } }));
    await runNpm(tools, ['install', '--no-audit', '--no-fund', `node@${version}`], folder);
  }
  return file;
}

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { root, runNode } from '../scripts/tool.ts';
import { inFolder, median } from './measure.ts';

const run = promisify(execFile);

/** The URL of a module of a build, as a string literal. */
type Built = (path: string) => string;

/** What a process does from its start. Its working folder is kept between runs, so its database exists already. */
interface Scenario {
  readonly name: string;
  readonly script: (built: Built) => string;
}

function opens(what: string, options: string): Scenario['script'] {
  return (built) =>
    `const { ${what} } = await import(${built('index.js')}); globalThis.opened = await ${what}.open('sqlite:./app.db', ${options});`;
}

const scenarios: readonly Scenario[] = [
  { name: 'import', script: (built) => `await import(${built('index.js')});` },
  { name: 'Client.open', script: opens('Client', '{}') },
  { name: 'Runner.open', script: opens('Runner', '{}') },
  { name: 'Runner.open with a registry', script: opens('Runner', "{ registry: 'file:./packages' }") },
  {
    name: 'CLI --version',
    script: (built) =>
      `const cache = await import(${built('cli/compile-cache.js')}); cache.keepCompiledCode(); const cli = await import(${built('cli/main.js')}); await cli.main(['--version']);`,
  },
];

/** One process: CPU from its start, of all its threads, and the largest memory. */
interface Cost {
  readonly cpuMs: number;
  readonly rssMb: number;
}

const mark = '#cost ';
/** Measures first, then closes: a runner that ends without a close would be a dead one for the next process. */
const report = `const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
await globalThis.opened?.close();
const cost = { cpuMs: (userCPUTime + systemCPUTime) / 1000, rssMb: maxRSS / 1024 };
process.stdout.write('\\n${mark}' + JSON.stringify(cost) + '\\n', () => process.exit());`;

async function cost(script: string, folder: string): Promise<Cost> {
  mkdirSync(folder, { recursive: true });
  const { NODE_COMPILE_CACHE: _, ...rest } = process.env;
  const env = { ...rest, XDG_CACHE_HOME: folder, LOCALAPPDATA: folder };
  const args = ['--input-type=module', '--eval', `${script}\n${report}`];
  const { stdout } = await run(process.execPath, args, { cwd: folder, env });
  const line = stdout.split('\n').find((each) => each.startsWith(mark));
  if (line === undefined) throw new Error(`a process that was measured printed no cost: ${stdout}`);
  return JSON.parse(line.slice(mark.length)) as Cost;
}

interface Checkout {
  readonly name: string;
  readonly built: Built;
}

function checkout(folder: string, name: string): Checkout {
  const dist = join(folder, 'dist');
  if (!existsSync(join(dist, 'index.js'))) throw new Error(`${dist} has no build; run npm run build in ${folder}`);
  return { name, built: (path) => JSON.stringify(pathToFileURL(join(dist, path)).href) };
}

/**
 * `npm run bench -- --startup [--other=FOLDER]`: CPU and memory of a start beyond those of bare Node, for the build of this checkout and of
 * another one. Processes run one at a time and in turn, so that a change of the machine's speed is the same for all.
 */
export async function startupText(rounds: number, other: string | undefined): Promise<string> {
  const built = await runNode(join(root, 'scripts', 'build.ts'), []);
  if (built.exitCode !== 0) throw new Error(built.output);
  const checkouts = [checkout(root, 'this checkout')];
  if (other !== undefined) checkouts.push(checkout(resolve(other), basename(resolve(other))));
  return inFolder(async (folder) => {
    const costs = await measured(rounds, checkouts, folder);
    const bare = costs.get('bare')!;
    const rows = scenarios.map(({ name }) => {
      const cells = checkouts.map((each) => cell(costs.get(`${each.name} ${name}`)!, bare));
      return `| ${name} | ${cells.join(' | ')} |`;
    });
    return [
      `| CPU and memory beyond bare Node (${cpuOf(bare)} ms, ${rssOf(bare)} MB) | ${checkouts.map((each) => each.name).join(' | ')} |`,
      `| --- | ${checkouts.map(() => '---').join(' | ')} |`,
      ...rows,
    ].join('\n');
  });
}

/** Costs by checkout and scenario; the first round warms the disk, the databases and the CLI's cache, and is not counted. */
async function measured(
  rounds: number,
  checkouts: readonly Checkout[],
  folder: string,
): Promise<ReadonlyMap<string, readonly Cost[]>> {
  const costs = new Map<string, Cost[]>();
  for (let round = 0; round <= rounds; round++) {
    const take = async (key: string, script: string): Promise<void> => {
      const taken = await cost(script, join(folder, key.replaceAll(' ', '-')));
      if (round > 0) costs.set(key, [...(costs.get(key) ?? []), taken]);
    };
    await take('bare', '');
    for (const { name, script } of scenarios) {
      for (const each of checkouts) await take(`${each.name} ${name}`, script(each.built));
    }
  }
  return costs;
}

function cell(costs: readonly Cost[], bare: readonly Cost[]): string {
  return `${cpuOf(costs) - cpuOf(bare)} ms, ${rssOf(costs) - rssOf(bare)} MB`;
}

function cpuOf(costs: readonly Cost[]): number {
  return Math.round(median(costs.map(({ cpuMs }) => cpuMs)));
}

function rssOf(costs: readonly Cost[]): number {
  return Math.round(median(costs.map(({ rssMb }) => rssMb)));
}

import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * One project with packages of npm. The lines `// key: value` at the top of its source are its settings:
 *
 * - `deps`: packages with their versions.
 * - `quick: yes`: it is part of `npm test`.
 * - `input`: the input of the workflow, JSON.
 * - `env`, `set`: names that the package asks for, and values `NAME=value` of the environment.
 * - `needs`: `postgres` or `redis`, whose URL is in `DATABASE_URL` or `REDIS_URL`.
 * - `tsconfig`, `entry`, `files`: as in a project; `files` are separated by spaces.
 * - `output`: the output, JSON; default: that of the same workflow without a package.
 * - `refused`: a part of the message with which it cannot be packed.
 * - `fails`: a part of the error with which it fails when it runs.
 * - `warns`: a part of a warning; without it packing warns of nothing.
 * - `note`: a remark for readers.
 */
export interface Case {
  readonly name: string;
  readonly source: string;
  readonly deps: readonly string[];
  readonly isQuick: boolean;
  readonly input: string;
  readonly env: readonly string[];
  readonly set: Readonly<Record<string, string>>;
  readonly needs: string | null;
  readonly tsconfig: string | null;
  readonly entry: string;
  readonly files: readonly string[];
  readonly output: string | null;
  readonly refused: string | null;
  readonly fails: string | null;
  readonly warns: string | null;
}

const keys = new Set([
  ...['deps', 'quick', 'input', 'env', 'set', 'needs', 'tsconfig', 'entry', 'files'],
  ...['output', 'refused', 'fails', 'warns', 'note'],
]);

/** All projects, by name. Throws for an unknown setting. */
export function readCases(): readonly Case[] {
  const folder = join(import.meta.dirname, 'projects');
  return globSync('*.ts', { cwd: folder })
    .toSorted()
    .map((file) => readCase(basename(file, '.ts'), readFileSync(join(folder, file), 'utf8')));
}

function readCase(name: string, source: string): Case {
  const settings = new Map([...source.matchAll(/^\/\/ (\w+): (.*)$/gm)].map(([, key = '', value = '']) => [key, value]));
  const unknown = [...settings.keys()].filter((key) => !keys.has(key));
  if (unknown.length > 0) throw new Error(`${name}.ts has unknown settings: ${unknown.join(', ')}`);
  const list = (key: string): readonly string[] => (settings.get(key) ?? '').split(' ').filter((word) => word !== '');
  const text = (key: string): string | null => settings.get(key) ?? null;
  return {
    name,
    source,
    deps: list('deps'),
    isQuick: settings.get('quick') === 'yes',
    input: settings.get('input') ?? '{}',
    env: list('env'),
    set: Object.fromEntries(list('set').map((pair) => pair.split('=', 2) as [string, string])),
    needs: text('needs'),
    tsconfig: text('tsconfig'),
    entry: settings.get('entry') ?? 'src/index.ts',
    files: list('files'),
    output: text('output'),
    refused: text('refused'),
    fails: text('fails'),
    warns: text('warns'),
  };
}

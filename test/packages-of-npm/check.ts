import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describeInIsolate } from '../../src/cli/describe.ts';
import { CloacinaError } from '../../src/core/error.ts';
import type { Json } from '../../src/core/json.ts';
import { Runner } from '../../src/open.ts';
import { buildPackage } from '../../src/package/pack/build.ts';
import type { BuiltPackage } from '../../src/package/pack/build.ts';
import { root } from '../../scripts/tool.ts';
import { runProgram } from '../docs/steps.ts';
import type { Case } from './cases.ts';

/**
 * Packs and runs a project: it does what its settings say, by default the same as without a package. `modules` is the
 * folder of its installed packages, `dir` an empty folder.
 */
export async function checkCase(one: Case, modules: string, dir: string): Promise<void> {
  Object.assign(process.env, one.set);
  writeProject(one, modules, dir);
  const built = await buildPackage(dir, { describe: describeInIsolate }).catch((error: unknown) => {
    if (one.refused !== null && error instanceof CloacinaError) return error;
    throw error;
  });
  if (built instanceof CloacinaError) {
    assert(built.message.includes(one.refused!), built.message);
    return;
  }
  assert.equal(one.refused, null, 'it was packed');
  checkWarnings(one, built);
  const ended = await outcomeOf(one, built, dir);
  if (one.fails !== null) assert(ended.error?.includes(one.fails) === true, JSON.stringify(ended));
  else assert.deepEqual(ended, { output: await expectedOutput(one, dir) });
}

function writeProject(one: Case, modules: string, dir: string): void {
  const cloacina = { entry: one.entry, files: one.files, permissions: { net: true, env: one.env } };
  const about = { name: `npm-${one.name}`, version: '1.0.0', type: 'module', cloacina };
  const files = { 'package.json': JSON.stringify(about), 'tsconfig.json': one.tsconfig ?? '{}', [one.entry]: one.source };
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  }
  symlinkSync(join(modules, 'node_modules'), join(dir, 'node_modules'), 'junction');
}

function checkWarnings(one: Case, { warnings }: BuiltPackage): void {
  if (one.warns === null) assert.deepEqual(warnings, []);
  else assert(warnings.some((warning) => warning.includes(one.warns!)), warnings.join('\n'));
}

interface Ended {
  readonly output?: Json;
  readonly error?: string;
}

async function outcomeOf(one: Case, { bytes }: BuiltPackage, dir: string): Promise<Ended> {
  const silent = (): void => undefined;
  await using runner = await Runner.open('sqlite::memory:', {
    registry: `file:${join(dir, 'packages')}`,
    grants: { env: ['*'] },
    logger: { debug: silent, info: silent, warn: silent, error: silent },
  });
  await runner.registry.register(bytes);
  const execution = await runner.start(`npm-${one.name}/t`, JSON.parse(one.input) as Json);
  const outcome = await execution.outcome();
  return outcome.status === 'completed'
    ? { output: outcome.output }
    : { error: `${outcome.error?.code}: ${outcome.error?.message}` };
}

/** The output of the same workflow, embedded in a process of the same Node and not bundled. */
async function expectedOutput(one: Case, dir: string): Promise<unknown> {
  if (one.output !== null) return JSON.parse(one.output);
  const mark = '#output:';
  writeFileSync(
    join(dir, 'embedded.mjs'),
    `import { Runner } from 'cloacina';
import w from './${one.entry}';
await using runner = await Runner.open('sqlite::memory:', { workflows: [w] });
const { output } = await runner.execute('t', ${one.input});
console.log('${mark}' + JSON.stringify(output));
process.exit(0);
`,
  );
  const args = ['--import', join(root, 'test', 'docs', 'resolve-source.ts'), 'embedded.mjs'];
  const { output } = await runProgram(process.execPath, args, dir, process.env);
  const line = output.split('\n').find((each) => each.startsWith(mark));
  assert(line !== undefined, `without a package it fails too:\n${output}`);
  return JSON.parse(line.slice(mark.length));
}

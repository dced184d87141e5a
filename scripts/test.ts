// npm test [-- PART...]: runs every *.test.ts (with --soak: every *.soak.ts), or those whose path has one of the parts in it.
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parseArgs } from 'node:util';
import { root } from './tool.ts';

/** No test is silent for so long. A file that left a timer or a connection open never ends, and is named and failed then. */
const quietMs = 170_000;

function testFiles(ending: 'test' | 'soak', parts: readonly string[]): readonly string[] {
  // The folder test/ holds the slow ones, which cross layers: they come first, so that none of them is left for the end.
  return ['test/simulation', 'test', 'src']
    .flatMap((folder) => globSync([`${folder}/**/*.${ending}.ts`, `${folder}.${ending}.ts`], { cwd: root }).toSorted())
    .filter((file, at, all) => all.indexOf(file) === at)
    .filter((file) => parts.length === 0 || parts.some((part) => file.replaceAll('\\', '/').includes(part)));
}

function runFiles(files: readonly string[], isSoak: boolean): void {
  const quiet = new AbortController();
  const events = run({
    cwd: root,
    files,
    concurrency: isSoak ? 1 : availableParallelism(),
    ...(isSoak ? {} : { signal: quiet.signal }),
  });
  const watch = setTimeout(() => quiet.abort(new Error(`Nothing happened for ${quietMs / 1000} s.`)), quietMs).unref();
  events.on('data', () => watch.refresh());
  events.on('test:fail', () => {
    process.exitCode = 1;
  });
  events.compose(new spec()).pipe(process.stdout);
}

const { values, positionals } = parseArgs({
  options: { soak: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const ending = values.soak ? 'soak' : 'test';
const files = testFiles(ending, positionals);

if (files.length === 0) {
  const parts = positionals.length > 0 ? ` with ${positionals.join(' or ')} in its path` : '';
  console.error(`There is no *.${ending}.ts in test/ and src/${parts}.`);
  process.exitCode = 1;
} else {
  // A database or a server named in the developer's own environment is none of the tests' business.
  for (const name of Object.keys(process.env)) {
    if (name.startsWith('CLOACINA_') && name !== 'CLOACINA_TEST_POSTGRES') delete process.env[name];
  }
  runFiles(files, values.soak);
}

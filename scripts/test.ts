// npm test [-- PART...] runs every *.test.ts (with --soak: every *.soak.ts), or those whose path contains one of the
// parts.
import { globSync } from 'node:fs';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { availableParallelism } from 'node:os';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parseArgs } from 'node:util';
import { startedServer } from '../src/testing/postgres-server.ts';
import type { PostgresServer } from '../src/testing/postgres-server.ts';
import { root } from './tool.ts';

/**
 * The longest silence of a test. A file that leaves a timer or a connection open never ends, and is reported and failed
 * after this time.
 */
const quietMs = 170_000;

function testFiles(ending: 'test' | 'soak', parts: readonly string[]): readonly string[] {
  // The folder test/ holds the slow tests, which cross layers. They run first, so no slow test is left for the end.
  return ['test/simulation', 'test', 'src']
    .flatMap((folder) => globSync([`${folder}/**/*.${ending}.ts`, `${folder}.${ending}.ts`], { cwd: root }).toSorted())
    .filter((file, at, all) => all.indexOf(file) === at)
    .filter((file) => parts.length === 0 || parts.some((part) => file.replaceAll('\\', '/').includes(part)));
}

/**
 * An HTTP endpoint that starts one PostgreSQL server for all files at the first request. It answers with the URL of the
 * server, or with the reason why there is none.
 */
async function postgresDoor(): Promise<{ readonly url: string; close(): Promise<void> }> {
  let server: Promise<PostgresServer | string> | undefined;
  const answer = async (response: ServerResponse): Promise<void> => {
    const started = await (server ??= startedServer());
    if (typeof started === 'string') response.writeHead(503).end(started);
    else response.end(started.url);
  };
  const door = createServer((_, response) => void answer(response));
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
  const close = async (): Promise<void> => {
    door.close();
    const started = await server;
    if (typeof started === 'object') await started.remove();
  };
  return { url: `http://127.0.0.1:${(door.address() as AddressInfo).port}`, close };
}

async function runFiles(files: readonly string[], isSoak: boolean): Promise<void> {
  const door = (process.env['CLOACINA_TEST_POSTGRES'] ?? '') === '' ? await postgresDoor() : null;
  if (door !== null) process.env['CLOACINA_TEST_POSTGRES'] = door.url;
  const end = new AbortController();
  const events = run({
    cwd: root,
    files,
    concurrency: isSoak ? 1 : availableParallelism(),
    signal: end.signal,
  });
  const silent = new Error(`Nothing happened for ${quietMs / 1000} s.`);
  const watch = isSoak ? undefined : setTimeout(() => end.abort(silent), quietMs).unref();
  events.on('data', () => watch?.refresh());
  events.on('test:fail', () => {
    process.exitCode = 1;
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      process.exitCode = 1;
      end.abort(new Error(`It was ended by ${signal}.`));
    });
  }
  events.once('end', () => void door?.close());
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
  // A database or a server in the developer's own environment must not affect the tests.
  for (const name of Object.keys(process.env)) {
    if (name.startsWith('CLOACINA_') && name !== 'CLOACINA_TEST_POSTGRES') delete process.env[name];
  }
  await runFiles(files, values.soak);
}

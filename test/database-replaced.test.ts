import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { Client, DatabaseReplacedError, Runner, unchecked, workflow } from '../src/index.ts';
import type { Logger, RunnerOptions } from '../src/index.ts';
import { release, tempFolder } from '../src/testing/engine-rig.ts';
import type { Cleanup } from '../src/testing/engine-rig.ts';
import { endAll, runCli, startCli } from './cli/run-cli.ts';

const flow = workflow('count', { input: unchecked<{ n: number }>() });
const counting = flow.returns(flow.task('n', ({ input }) => input.n));

const held = workflow('held', { input: unchecked<{ n: number }>() });
const holding = held.returns(
  held.task(
    'hold',
    ({ signal }) => new Promise<number>((_, no) => signal.addEventListener('abort', () => no(signal.reason))),
  ),
);

/** Windows does not remove open files. */
const skip = process.platform === 'win32';

interface Place {
  readonly folder: string;
  readonly file: string;
  readonly url: string;
}

function newPlace(t: Cleanup): Place {
  const folder = join(tempFolder(t), 'data');
  mkdirSync(folder);
  const file = join(folder, 'app.db');
  return { folder, file, url: `sqlite:${file}` };
}

/** A copy of the current database, made by another process as `docs/operating.md` describes. */
function backUp({ file, folder }: Place): string {
  const copy = join(folder, 'backup.db');
  elsewhere(`new DatabaseSync(${JSON.stringify(file)}).prepare('vacuum into ?').run(${JSON.stringify(copy)})`);
  return copy;
}

/** Runs a script in another process, and returns its output. */
function elsewhere(script: string): string {
  const source = `import { DatabaseSync } from 'node:sqlite'; ${script}`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

/** The number of executions that another process finds, and the result of its integrity check. */
function found({ file }: Place): string {
  return elsewhere(`const d = new DatabaseSync(${JSON.stringify(file)});
    const { n } = d.prepare('select count(*) as n from executions').get();
    console.log(n, d.prepare('pragma integrity_check').get().integrity_check); d.close();`);
}

function rmAll({ file }: Place): void {
  for (const part of ['', '-wal', '-shm']) rmSync(file + part, { force: true });
}

const harms: Readonly<Record<string, (place: Place, backup: string) => void>> = {
  'is deleted': rmAll,
  'is moved away': ({ file }) => renameSync(file, `${file}.old`),
  'is replaced by a backup that is moved over it': ({ file }, backup) => renameSync(backup, file),
  'is restored from a backup': (place, backup) => {
    rmAll(place);
    cpSync(backup, place.file);
  },
  'loses its -wal and -shm, as when another SQLite library of the process closes it': ({ file }) => {
    for (const part of ['-wal', '-shm']) rmSync(file + part);
  },
  'loses its -wal alone': ({ file }) => rmSync(`${file}-wal`),
  'is in a folder that is deleted': ({ folder }) => rmSync(folder, { recursive: true }),
  'is in a folder that is moved away': ({ folder }) => renameSync(folder, `${folder}.old`),
};

interface Watched {
  readonly runner: Runner;
  /** The log lines, with their level. */
  readonly lines: string[];
  readonly stopped: Promise<Error>;
}

async function openRunner(t: Cleanup, { url }: Place, options: RunnerOptions = {}): Promise<Watched> {
  const lines: string[] = [];
  const at =
    (level: string) =>
    (data: object, message: string): void => {
      lines.push(`${level}: ${message} ${String(Reflect.get(data, 'error'))}`);
    };
  const logger: Logger = { debug: () => undefined, info: () => undefined, warn: at('warn'), error: at('error') };
  const { promise: stopped, resolve } = Promise.withResolvers<Error>();
  const runner = await Runner.open(url, { workflows: [counting, holding], logger, onStopped: resolve, ...options });
  release(t, () => runner.close({ drain: 0 }));
  return { runner, lines, stopped };
}

/** Enough for a checkpoint by the thread. */
const many = 120;

/** Returns the number of executions. */
async function executeMany(runner: Runner): Promise<number> {
  for (let n = 0; n < many; n++) await runner.execute(counting, { n });
  return many;
}

function isReplaced(error: unknown): error is DatabaseReplacedError {
  return error instanceof DatabaseReplacedError && error.code === 'DATABASE_REPLACED';
}

describe('a SQLite database file that is removed or replaced under a runner', { skip }, () => {
  for (const [what, harm] of Object.entries(harms)) {
    it(`a runner acknowledges nothing more after the file ${what}`, async (t) => {
      const place = newPlace(t);
      const { runner, lines, stopped } = await openRunner(t, place);
      await executeMany(runner);
      harm(place, backUp(place));
      const refused = await runner.start(counting, { n: 3 }).then(
        () => assert.fail('a start was acknowledged'),
        (error: unknown) => error,
      );
      assert.ok(isReplaced(refused), String(refused));
      assert.ok(refused.acknowledged >= many, 'executions acknowledged before exist');
      assert.match(refused.message, new RegExp(`the ${refused.acknowledged} transactions that this connection`));
      assert.ok(refused.file.startsWith(place.file));
      assert.equal(await stopped, refused);
      await assert.rejects(runner.start(counting, { n: 4 }), isReplaced);
      await assert.rejects(runner.startMany(counting, [{ n: 5 }]), isReplaced);
      await assert.rejects(runner.executions.list(), isReplaced);
      await runner.close();
      assert.equal(lines.length, 1, lines.join('\n'));
      assert.match(lines[0]!, /^error: the runner stopped/);
    });
  }

  it('an idle runner notices it on its own, and waiting callers get an error', async (t) => {
    const place = newPlace(t);
    const { runner, stopped } = await openRunner(t, place);
    const { id } = await runner.start(holding, { n: 1 });
    const result = assert.rejects(runner.handle(id).result(), isReplaced);
    rmAll(place);
    assert.ok(isReplaced(await stopped));
    await result;
  });

  it('a client is refused too, and its waiting calls reject', async (t) => {
    const place = newPlace(t);
    const client = await Client.open(place.url);
    release(t, () => client.close());
    const handle = await client.start(counting, { n: 1 });
    const { id } = handle;
    const result = assert.rejects(handle.result(), isReplaced);
    rmAll(place);
    await result;
    await assert.rejects(client.cancel(id), isReplaced);
    await assert.rejects(client.executions.get(id), isReplaced);
  });

  it('runner.transaction is refused', async (t) => {
    const place = newPlace(t);
    const { runner } = await openRunner(t, place);
    rmAll(place);
    await assert.rejects(
      runner.transaction((_, start) => start(counting, { n: 1 })),
      isReplaced,
    );
  });

  it('a commit into deleted files is not acknowledged', async (t) => {
    const place = newPlace(t);
    const { runner } = await openRunner(t, place);
    const given = runner.transaction((_, start) => {
      rmAll(place); // the file was in its place when the transaction began
      return start(counting, { n: 1 });
    });
    await assert.rejects(given, isReplaced);
    await assert.rejects(runner.start(counting, { n: 2 }), isReplaced);
  });

  it('acknowledged executions are saved if only the log is gone and the file has not been written since', async (t) => {
    const place = newPlace(t);
    const { runner, stopped } = await openRunner(t, place);
    const count = await executeMany(runner);
    for (const part of ['-wal', '-shm']) rmSync(place.file + part);
    await stopped;
    assert.equal(found(place), `${count} ok`);
    const again = await openRunner(t, place);
    await again.runner.execute(counting, { n: 6 });
    assert.equal(
      (await again.runner.executions.list({ limit: 1000 })).items.length,
      count + 1,
      'this process may open it again',
    );
  });

  it('a database that has been written since is not overwritten, and this process cannot open the file again', async (t) => {
    const place = newPlace(t);
    const client = await Client.open(place.url);
    release(t, () => client.close());
    for (const part of ['-wal', '-shm']) rmSync(place.file + part);
    // an idle client does not check the file
    elsewhere(`const d = new DatabaseSync(${JSON.stringify(place.file)});
      d.exec('create table orders (id integer primary key, note text)');
      for (let i = 0; i < 300; i++) d.prepare('insert into orders (note) values (?)').run('x'.repeat(900)); d.close();`);
    await assert.rejects(client.start('count', { n: 1 }), isReplaced);
    await client.close();
    const left = elsewhere(`const d = new DatabaseSync(${JSON.stringify(place.file)});
      const { n } = d.prepare('select count(*) as n from orders').get();
      console.log(n, d.prepare('pragma integrity_check').get().integrity_check); d.close();`);
    assert.equal(left, '300 ok');
    await assert.rejects(Client.open(place.url), isReplaced);
  });
});

describe('other processes may use a SQLite database while a runner is open', () => {
  it('they can open, close, write, checkpoint, vacuum and back it up', async (t) => {
    const place = newPlace(t);
    const { runner, lines } = await openRunner(t, place);
    await runner.execute(counting, { n: 0 });
    for (const sql of [
      'create table orders (id)',
      'pragma wal_checkpoint(truncate)',
      'vacuum',
      'pragma wal_checkpoint',
    ]) {
      elsewhere(
        `const d = new DatabaseSync(${JSON.stringify(place.file)}, { timeout: 5000 }); d.exec('${sql}'); d.close();`,
      );
      await runner.execute(counting, { n: 1 });
    }
    assert.ok(existsSync(backUp(place)));
    const own = new DatabaseSync(place.file);
    own.exec('pragma wal_checkpoint(truncate)');
    own.close();
    await runner.execute(counting, { n: 2 });
    await using client = await Client.open(place.url);
    assert.equal((await client.executions.list()).items.length, 6);
    assert.deepEqual(lines, []);
  });

  it('they can reach it through a link', { skip }, async (t) => {
    const place = newPlace(t);
    const link = join(place.folder, 'link.db');
    await (await Client.open(place.url)).close();
    symlinkSync(place.file, link);
    const { runner } = await openRunner(t, { ...place, url: `sqlite:${link}` });
    await runner.execute(counting, { n: 1 });
    rmSync(link);
    await runner.execute(counting, { n: 2 });
    assert.equal(found(place), '2 ok', 'the file itself is in its place');
  });
});

describe('cloacina runner ends if its database is removed', { skip }, () => {
  after(endAll);

  it('the process exits with code 6', async (t) => {
    const folder = tempFolder(t);
    const runner = startCli(folder, ['runner', '--database', 'sqlite:./data/app.db', '--registry', 'file:./packages']);
    await runner.line('stdout', 'is ready');
    rmSync(join(folder, 'data'), { recursive: true });
    const { code, stderr } = await runner.ended;
    assert.equal(code, 6, stderr);
    assert.match(stderr, /DATABASE_REPLACED/);
    const { code: fine } = await runCli(folder, ['execution', 'list', '--database', 'sqlite:./data/app.db']);
    assert.equal(fine, 0);
  });
});

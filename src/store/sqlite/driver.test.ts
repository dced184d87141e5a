import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { CloacinaError } from '../../core/error.ts';
import { openStores, release, tempFolder } from '../../testing/engine-rig.ts';
import { storeEffectsSuite } from '../../testing/suites/store-effects-suite.ts';
import { offerSuite } from '../../testing/suites/offer-suite.ts';
import { pinsSuite } from '../../testing/suites/pins-suite.ts';
import {
  sampleExecution,
  sampleFilter,
  sampleRunner,
  sampleTaskState,
  sampleTransition,
} from '../../testing/samples.ts';
import { storeSuite } from '../../testing/suites/store-suite.ts';
import { ManualClock } from '../../testing/clock.ts';
import { migrate, migrations } from '../migrations/migrate.ts';
import { openStore, sqlitePath } from '../open.ts';
import type { SqlValue } from '../script.ts';
import { BusyError } from '../store.ts';

storeSuite('SQLite in memory', () => openStore('sqlite::memory:'));
storeEffectsSuite('SQLite in memory', () => openStore('sqlite::memory:'));
pinsSuite('SQLite in memory', () => openStore('sqlite::memory:'));

const suiteFolder = mkdtempSync(join(tmpdir(), 'cloacina-'));
after(() => rmSync(suiteFolder, { recursive: true, force: true }));
let files = 0;
offerSuite('SQLite in memory', () => openStore('sqlite::memory:'));
storeSuite('SQLite in a file', () => openStore(`sqlite:${join(suiteFolder, `${files++}.db`)}`));

describe('durability.md, Per database: the settings that make SQLite durable', () => {
  it('the settings are WAL, synchronous=NORMAL beside our own flush, foreign keys, and no busy timeout', async (t) => {
    const [store] = await openStores(t, 1, new ManualClock());
    const pragma = (name: string): Promise<unknown> =>
      store!.read(function* () {
        const { rows } = yield { text: `pragma ${name}`, params: [] };
        return Object.values(rows[0]!)[0];
      });
    assert.equal(await pragma('journal_mode'), 'wal');
    assert.equal(
      await pragma('synchronous'),
      1,
      'NORMAL: SQLite flushes the log before a checkpoint, and we flush it after a commit',
    );
    assert.equal(await pragma('foreign_keys'), 1);
    assert.equal(await pragma('busy_timeout'), 0, 'a busy timeout would stop the event loop');
  });
});

describe(
  'operating.md: a database that is created is open to its user alone',
  { skip: process.platform === 'win32' },
  () => {
    const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);

    /** Opens a database, and returns the modes of its folder, its file, its log and the index of that. */
    async function modes(path: string, umask: number): Promise<readonly string[]> {
      const before = process.umask(umask);
      try {
        const store = await openStore(`sqlite:${path}`);
        try {
          return [dirname(path), path, `${path}-wal`, `${path}-shm`].map(mode);
        } finally {
          await store.close();
        }
      } finally {
        process.umask(before);
      }
    }

    it('its folder, file and log have modes of their own, whatever the umask', async (t) => {
      for (const umask of [0o000, 0o022, 0o077]) {
        const folder = join(tempFolder(t), 'new');
        const file = join(folder, 'app.db');
        assert.deepEqual(await modes(file, umask), ['700', '600', '600', '600']);
        assert.deepEqual(readdirSync(folder), ['app.db']);
      }
    });

    it('a file or a folder that exists keeps the mode that it was given', async (t) => {
      const folder = tempFolder(t);
      chmodSync(folder, 0o750);
      const file = join(folder, 'shared.db');
      writeFileSync(file, '');
      chmodSync(file, 0o640);
      assert.deepEqual(await modes(file, 0o022), ['750', '640', '640', '640']);
    });

    it('the target of a link that does not exist yet is private, too', async (t) => {
      const folder = tempFolder(t);
      symlinkSync(join(folder, 'target.db'), join(folder, 'link.db'));
      await modes(join(folder, 'target.db'), 0o077);
      rmSync(join(folder, 'target.db'));
      const before = process.umask(0);
      const store = await openStore(`sqlite:${join(folder, 'link.db')}`);
      process.umask(before);
      await store.close();
      assert.equal(mode(join(folder, 'target.db')), '600');
    });

    it('processes that create it at the same time have the same file', async (t) => {
      const file = join(tempFolder(t), 'new', 'app.db');
      const stores = await Promise.all(Array.from({ length: 8 }, () => openStore(`sqlite:${file}`)));
      await stores[0]!.createExecutions([sampleExecution({ id: 'e1' })]);
      for (const store of stores) assert.notEqual(await store.execution('e1'), undefined);
      for (const store of stores) await store.close();
      assert.deepEqual(readdirSync(dirname(file)), ['app.db']);
    });
  },
);

describe('the URL of a SQLite database', () => {
  for (const [url, path] of [
    ['sqlite:./app.db', './app.db'],
    ['sqlite:/var/lib/app.db', '/var/lib/app.db'],
    ['sqlite:app.db', 'app.db'],
    ['sqlite:///var/app.db', '/var/app.db'],
    ['sqlite://./app.db', './app.db'],
    ['sqlite:C:\\data\\app.db', 'C:\\data\\app.db'],
    ['sqlite::memory:', ':memory:'],
  ] as const) {
    it(`${url} is ${path}`, () => assert.equal(sqlitePath(url), path));
  }

  for (const url of ['', 'app.db', 'sqlite:', 'mysql://x', 'file:./app.db']) {
    it(`'${url}' is DATABASE_URL_INVALID`, async () => {
      await assert.rejects(openStore(url), { code: 'DATABASE_URL_INVALID' });
    });
  }
});

describe('interfaces.md: opening a SQLite database file', () => {
  it('a file that is no database is DATABASE_INVALID, named, and not changed', async (t) => {
    const file = join(tempFolder(t), 'notes.txt');
    const text = 'these are my notes, and no database at all\n'.repeat(100);
    writeFileSync(file, text);
    await assert.rejects(openStore(`sqlite:${file}`), (error) => {
      assert.equal(Reflect.get(error as object, 'code'), 'DATABASE_INVALID');
      assert.ok(String(error).includes(file));
      return true;
    });
    assert.equal(readFileSync(file, 'utf8'), text);
  });

  it('a database of another program with a table of the same name is DATABASE_INVALID and not changed', async (t) => {
    const file = join(tempFolder(t), 'theirs.db');
    const db = new DatabaseSync(file);
    db.exec('create table Executions (day text); create table people (name text)');
    await assert.rejects(openStore(`sqlite:${file}`), (error: unknown) => {
      assert.ok(error instanceof CloacinaError && error.code === 'DATABASE_INVALID');
      assert.match(error.message, /theirs\.db has a table 'Executions' of another program.*a separate file/);
      return true;
    });
    assert.deepEqual(db.prepare('select name from sqlite_master order by name').all().length, 2);
    db.close();
  });

  it('a database with other tables is shared with their program', async (t) => {
    const file = join(tempFolder(t), 'shared.db');
    const db = new DatabaseSync(file);
    db.exec('create table people (name text)');
    db.close();
    await (await openStore(`sqlite:${file}`)).close();
    await (await openStore(`sqlite:${file}`)).close();
  });

  it(
    'a path where the system accepts no folder is refused at once',
    { skip: process.platform !== 'linux' },
    async () => {
      await assert.rejects(openStore('sqlite:/proc/nope/deeper/x.db'), (error: unknown) => {
        assert.ok(error instanceof CloacinaError && error.code === 'STORE_UNAVAILABLE');
        assert.match(error.message, /\/proc\/nope\/deeper\/x\.db could not be opened: ENOENT.*mkdir '\/proc\/nope'/);
        return true;
      });
    },
  );

  it('a database that another process writes to is opened and read without waiting for the writer', async (t) => {
    const file = join(tempFolder(t), 'busy.db');
    await (await openStore(`sqlite:${file}`)).close();
    const other = new DatabaseSync(file);
    release(t, () => other.close());
    other.exec('begin immediate');
    const store = await openStore(`sqlite:${file}`, { patienceMs: 0 });
    release(t, () => store.close());
    assert.deepEqual(await store.definitions(), []);
  });

  it('a database of a newer Cloacina is DATABASE_TOO_NEW and not changed', async (t) => {
    const file = join(tempFolder(t), 'new.db');
    await (await openStore(`sqlite:${file}`)).close();
    const db = new DatabaseSync(file);
    db.exec(`insert into cloacina_migrations (number, name, at, oldest) values (9999, 'from the future', 0, 9999)`);
    db.close();
    await assert.rejects(openStore(`sqlite:${file}`), { code: 'DATABASE_TOO_NEW' });
  });

  it('a database of an older Cloacina is migrated, and its rows are kept', async (t) => {
    const file = join(tempFolder(t), 'old.db');
    const create = sampleExecution();
    const db = new DatabaseSync(file);
    const script = migrate(0, 'without rowid', migrations.slice(0, 1));
    for (let step = script.next(); step.done !== true;) {
      const statement = db.prepare(step.value.text.replaceAll('$', '?'));
      const rows = statement.all(...step.value.params) as Record<string, SqlValue>[];
      step = script.next({ rows, changes: 0 });
    }
    db.exec(`insert into executions (id, tenant, workflow, build_id, status, epoch, created_at, input, input_parsed, root_id)
      values ('${create.id}', 'default', 'w', 'c', 'pending', 0, 0, '{}', 1, '${create.id}')`);
    db.close();
    const again = await openStore(`sqlite:${file}`);
    release(t, () => again.close());
    assert.equal((await again.execution(create.id))?.id, create.id);
    const numbers = await again.read(function* () {
      const { rows } = yield { text: 'select number from cloacina_migrations order by number', params: [] };
      return rows.map((row) => row['number']);
    });
    assert.deepEqual(
      numbers,
      migrations.map(({ number }) => number),
    );
  });

  it('a truncated database is an error that says so, never a crash', async (t) => {
    const file = join(tempFolder(t), 'short.db');
    const store = await openStore(`sqlite:${file}`);
    await store.createExecutions(Array.from({ length: 200 }, () => sampleExecution()));
    await store.close();
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length / 2 / 4096) * 4096));
    const look = async (): Promise<void> => {
      const broken = await openStore(`sqlite:${file}`);
      release(t, () => broken.close());
      await broken.list(sampleFilter());
    };
    await assert.rejects(look, { code: 'DATABASE_INVALID' });
  });

  it('a database in a missing folder is created with its folder', async (t) => {
    const store = await openStore(`sqlite:${join(tempFolder(t), 'a', 'b', 'app.db')}`);
    release(t, () => store.close());
    assert.equal(await store.execution('x'), undefined);
  });

  it('a path that is a folder, or below a file, is STORE_UNAVAILABLE and named', async (t) => {
    const folder = tempFolder(t);
    writeFileSync(join(folder, 'file'), '');
    for (const path of [folder, join(folder, 'file', 'app.db')]) {
      await assert.rejects(openStore(`sqlite:${path}`), (error) => {
        assert.equal(Reflect.get(error as object, 'code'), 'STORE_UNAVAILABLE', String(error));
        assert.ok(String(error).includes(path), String(error));
        return true;
      });
    }
  });

  // permissions do not bind root, and Windows has none of these
  const nobody = process.platform !== 'win32' && process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const openAsOther = (path: string): string => {
    const module = JSON.stringify(new URL('../open.ts', import.meta.url).href);
    const code = `const { openStore } = await import(${module});
      try { const s = await openStore(process.argv[1]); await s.close(); console.log('opened'); }
      catch (error) { console.log(error.code, error.message); }`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code, `sqlite:${path}`], {
      ...nobody,
      encoding: 'utf8',
    });
    return stdout === '' ? stderr : stdout;
  };

  it('a read-only database is DATABASE_READ_ONLY and named', { skip: process.platform === 'win32' }, async (t) => {
    const folder = tempFolder(t);
    const file = join(folder, 'ro.db');
    await (await openStore(`sqlite:${file}`)).close();
    chmodSync(file, 0o444);
    chmodSync(folder, 0o555);
    release(t, () => chmodSync(folder, 0o755));
    const said = openAsOther(file);
    assert.match(said, /^DATABASE_READ_ONLY/);
    assert.ok(said.includes(file));
  });

  it(
    'a folder without write permission is STORE_UNAVAILABLE and the file is named',
    { skip: process.platform === 'win32' },
    (t) => {
      const folder = join(tempFolder(t), 'locked');
      mkdirSync(folder);
      chmodSync(folder, 0o555);
      chmodSync(join(folder, '..'), 0o755);
      release(t, () => chmodSync(folder, 0o755));
      const said = openAsOther(join(folder, 'app.db'));
      assert.match(said, /^STORE_UNAVAILABLE/);
      assert.ok(said.includes('app.db'));
    },
  );
});

describe('durability.md, per database: SQLite', () => {
  const holding = (file: string): DatabaseSync => {
    const other = new DatabaseSync(file, { timeout: 0 });
    other.exec('begin immediate');
    return other;
  };

  it('a busy database is waited for on a timer: the event loop turns, and a commit reports that it is busy', async (t) => {
    const file = join(tempFolder(t), 'busy.db');
    const store = await openStore(`sqlite:${file}`);
    release(t, () => store.close());
    await store.registerRunner(sampleRunner('r1'));
    const other = holding(file);
    let written = false;
    const writing = store.createExecutions([sampleExecution()]).finally(() => (written = true));
    const create = sampleExecution({ owned: true });
    await assert.rejects(
      store.commit({ runner: 'r1', lane: 0, n: 1, transitions: [sampleTransition(create.id, { create })] }),
      BusyError,
    );
    // this same thread holds the lock: a wait inside SQLite could only fail, while the timer continues when it is
    // released
    await setTimeout(20);
    assert.ok(!written);
    assert.equal((await store.runners()).length, 1, 'readers are not held up');
    other.exec('rollback');
    other.close();
    assert.equal((await writing).length, 1);
  });

  it('a database that stays busy is STORE_UNAVAILABLE in the end', async (t) => {
    const file = join(tempFolder(t), 'busy.db');
    const store = await openStore(`sqlite:${file}`, { patienceMs: 30 });
    release(t, () => store.close());
    const other = holding(file);
    release(t, () => other.close());
    await assert.rejects(store.createExecutions([sampleExecution()]), { code: 'STORE_UNAVAILABLE' });
  });

  it('a change by another connection is noticed once; an own change is not', async (t) => {
    const [one, two] = await openStores(t, 2, new ManualClock());
    assert.equal(one!.changed(), false);
    await one!.createExecutions([sampleExecution()]);
    assert.equal(one!.changed(), false);
    await two!.createExecutions([sampleExecution()]);
    assert.deepEqual([one!.changed(), one!.changed()], [true, false]);
  });

  it('a full disk is STORE_UNAVAILABLE; acknowledged rows are intact, and work resumes when there is room again', async (t) => {
    const [store, other] = await openStores(t, 2, new ManualClock());
    const kept = sampleExecution();
    await store!.createExecutions([kept]);
    const limit = (pages: number): Promise<void> =>
      store!.read(function* () {
        yield { text: `pragma max_page_count = ${pages}`, params: [] };
      });
    await limit(1);
    const large = (): ReturnType<typeof sampleExecution> =>
      sampleExecution({ input: JSON.stringify('x'.repeat(500_000)) });
    const refused = large();
    await assert.rejects(store!.createExecutions([sampleExecution(), refused]), (error) => {
      assert.equal(Reflect.get(error as object, 'code'), 'STORE_UNAVAILABLE');
      assert.match(String(error), /full/);
      return true;
    });
    assert.equal(await store!.execution(refused.id), undefined);
    assert.equal((await other!.execution(kept.id))?.id, kept.id);
    await limit(1_000_000);
    assert.equal((await store!.createExecutions([refused]))[0]!.created, true);
  });
});

describe('durability.md, A commit that cannot succeed is not repeated: values that SQLite cannot bind', () => {
  it('a value that cannot be bound is refused like one that SQLite refuses, and the error names its execution', async (t) => {
    const [store] = await openStores(t, 1, new ManualClock());
    await store!.registerRunner(sampleRunner('r1'));
    const creates = Array.from({ length: 2 }, () => sampleExecution({ owned: true }));
    const made = creates.map((create) => sampleTransition(create.id, { create }));
    await store!.commit({ runner: 'r1', lane: 0, n: 1, transitions: made });
    const [good, bad] = creates.map(({ id }, i) => {
      const startedAt = (i === 0 ? 1 : 2n ** 70n) as number;
      return sampleTransition(id, { tasks: [sampleTaskState('a', { startedAt })] });
    });
    const refused = { name: 'RefusedDataError', id: bad!.id };
    await assert.rejects(store!.commit({ runner: 'r1', lane: 0, n: 2, transitions: [good!, bad!] }), refused);
    assert.deepEqual(await store!.tasks(good!.id), []);
  });
});

import assert from 'node:assert/strict';
import { copyFileSync, fdatasyncSync, fstatSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { DatabaseFlushError } from '../../core/error.ts';
import { release, tempFolder } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { sampleExecution, sampleFilter, sampleRunner, sampleTransition } from '../../testing/samples.ts';
import { openStore } from '../open.ts';
import type { Store } from '../store.ts';

/** Flushes that end when the test says so. */
class Gate {
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  /** Number of flushes so far. */
  count = 0;

  readonly flush = (): Promise<void> => {
    this.count++;
    const flush = Promise.withResolvers<void>();
    this.#waiting.push(flush);
    return flush.promise;
  };

  pass(): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

async function open(t: Cleanup, file: string, gate: Gate): Promise<Store> {
  const store = await openStore(`sqlite:${file}`, { flush: gate.flush });
  release(t, async () => {
    gate.pass();
    await store.close();
  });
  return store;
}

/** True if a promise is settled after the pending work of this turn. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const settle = (): void => void (settled = true);
  promise.then(settle, settle);
  await setImmediate();
  return settled;
}

/** The result of a call that waits for any number of flushes. */
async function passed<T>(call: Promise<T>, gate: Gate): Promise<T> {
  while (!(await isSettled(call))) gate.pass();
  return call;
}

const batchOf = (id: string): Parameters<Store['commit']>[0] => {
  const create = sampleExecution({ id, owned: true });
  return { runner: 'r1', lane: 0, n: 1, transitions: [sampleTransition(id, { create })] };
};

describe('durability.md, Per database: a commit on SQLite is acknowledged after its flush', () => {
  it('every close waits for the flush under way', async (t) => {
    const gate = new Gate();
    const store = await open(t, join(tempFolder(t), 'closed.db'), gate);
    const writing = store.registerRunner(sampleRunner('r1'));
    await setImmediate();
    const closes = [store.close(), store.close()];
    for (const close of closes) assert.equal(await isSettled(close), false);
    gate.pass();
    await Promise.all([writing, ...closes]);
    assert.equal(await isSettled(store.close()), true);
  });

  it('a new execution, a batch and a transaction of the user wait for a flush that began after them', async (t) => {
    const gate = new Gate();
    const store = await open(t, join(tempFolder(t), 'a.db'), gate);
    await passed(store.registerRunner(sampleRunner('r1')), gate);
    const calls = [
      () => store.createExecutions([sampleExecution()]),
      () => store.commit(batchOf('x')),
      () => store.transactionSync!(({ create }) => create(sampleExecution())),
    ];
    for (const call of calls) {
      const before = gate.count;
      const done = call();
      await setImmediate();
      assert.equal(gate.count, before + 1);
      assert.equal(await isSettled(done), false);
      gate.pass();
      await done;
    }
  });

  it('commits during a flush share the next one', async (t) => {
    const gate = new Gate();
    const store = await open(t, join(tempFolder(t), 'a.db'), gate);
    const first = store.createExecutions([sampleExecution()]);
    await setImmediate();
    const others = Array.from({ length: 5 }, () => store.createExecutions([sampleExecution()]));
    await setImmediate();
    gate.pass();
    await first;
    assert.equal(await isSettled(Promise.race(others)), false, 'the first flush may have begun before them');
    assert.equal(gate.count, 2);
    gate.pass();
    await Promise.all(others);
    assert.equal(gate.count, 2);
  });

  it('a reader is shown nothing that is not on disk, by its own connection or another', async (t) => {
    const file = join(tempFolder(t), 'a.db');
    const [writing, reading] = [new Gate(), new Gate()];
    const writer = await open(t, file, writing);
    const reader = await open(t, file, reading);
    for (const [store, gate] of [
      [writer, writing],
      [reader, reading],
    ] as const)
      await passed(store.execution('none'), gate);
    const create = sampleExecution();
    const done = writer.createExecutions([create]);
    await setImmediate();
    for (const [store, gate] of [
      [reader, reading],
      [writer, writing],
    ] as const) {
      const read = store.execution(create.id);
      assert.equal(await isSettled(read), false);
      gate.pass();
      assert.equal((await read)?.id, create.id);
      const before = gate.count;
      await store.execution(create.id);
      assert.equal(gate.count, before, 'what it has flushed once is read without a flush');
    }
    await done;
  });

  it('a flush that fails is the last: nothing is acknowledged any more, and every call throws its error', async (t) => {
    const gate = new Gate();
    const store = await open(t, join(tempFolder(t), 'a.db'), gate);
    const first = store.createExecutions([sampleExecution()]);
    await setImmediate();
    const second = store.createExecutions([sampleExecution()]);
    const read = store.list(sampleFilter());
    await setImmediate();
    gate.fail(Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' }));
    const isLost = (error: unknown): boolean => {
      assert.ok(error instanceof DatabaseFlushError && error.code === 'DATABASE_FLUSH_FAILED', String(error));
      assert.match(error.message, /a\.db to disk: EIO: i\/o error.*check the disk/);
      return true;
    };
    await assert.rejects(first, isLost);
    await assert.rejects(second, isLost);
    await assert.rejects(read, isLost);
    await assert.rejects(store.runners(), isLost);
    await assert.rejects(store.createExecutions([sampleExecution()]), isLost);
    assert.equal((await store.lost)?.code, 'DATABASE_FLUSH_FAILED');
    assert.equal(gate.count, 1);
  });

  it('a power cut after an acknowledgement loses nothing of it', async (t) => {
    const folder = tempFolder(t);
    const file = join(folder, 'a.db');
    // the disk has what the files had when the last flush began; the rest is in the memory of the system
    let [flushed, flushes] = ['', 0];
    const flush = async (fd: number): Promise<void> => {
      const copy = join(folder, `disk-${flushes++}`);
      mkdirSync(copy);
      for (const part of ['', '-wal']) copyFileSync(file + part, join(copy, `a.db${part}`));
      await setTimeout(flushes % 3);
      fdatasyncSync(fd);
      flushed = copy;
    };
    const store = await openStore(`sqlite:${file}`, { flush });
    release(t, () => store.close());
    const write = async (lane: number): Promise<void> => {
      for (let i = 0; i < 8; i++) {
        const { id } = (await store.createExecutions([sampleExecution()]))[0]!;
        const disk = join(folder, `after-${lane}-${i}`);
        mkdirSync(disk);
        for (const part of ['a.db', 'a.db-wal']) copyFileSync(join(flushed, part), join(disk, part));
        const db = new DatabaseSync(join(disk, 'a.db'));
        const { n } = db.prepare('select count(*) as n from executions where id = ?').get(id) as { n: number };
        db.close();
        assert.equal(n, 1, `execution ${i} of ${lane} is gone after a power cut`);
      }
    };
    await Promise.all([0, 1, 2].map(write));
  });
});

describe('durability.md, Per database: checkpoints on SQLite', () => {
  it('a thread copies the log into the database, long before a commit would', async (t) => {
    const file = join(tempFolder(t), 'a.db');
    const store = await openStore(`sqlite:${file}`);
    release(t, () => store.close());
    const beside = new DatabaseSync(file);
    release(t, () => beside.close());
    const noop = beside.prepare('pragma wal_checkpoint(noop)');
    const input = JSON.stringify('x'.repeat(400_000));
    let state = { log: 0, checkpointed: 0 };
    // 100 frames each; from 16,384 frames on a commit copies them itself
    for (let i = 0; i < 140 && state.checkpointed === 0; i++) {
      await store.createExecutions([sampleExecution({ input })]);
      await setTimeout(10);
      state = noop.get() as typeof state;
    }
    assert.ok(state.checkpointed >= 1000 && state.log < 16_384, JSON.stringify(state));
  });

  it('a database whose name ends as the log of another one is flushed by its own log', async (t) => {
    const file = join(tempFolder(t), 'a-wal');
    const store = await openStore(`sqlite:${file}`, {
      flush: async (fd) => assert.equal(fstatSync(fd).ino, statSync(`${file}-wal`).ino),
    });
    release(t, () => store.close());
    await store.createExecutions([sampleExecution()]);
  });
});

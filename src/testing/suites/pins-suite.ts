import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { PinRefusedError } from '../../store/transition.ts';
import type { NewExecution, Pin, Transition } from '../../store/transition.ts';
import { run } from '../../store/script.ts';
import type { Store } from '../../store/store.ts';
import { release } from '../engine-rig.ts';
import type { Cleanup } from '../engine-rig.ts';
import { SampleRegistry, samplePinned } from '../sample-registry.ts';
import { sampleEffects, sampleExecution, sampleRunner, sampleTaskState, sampleTransition } from '../samples.ts';

/** Executions whose version was looked up and has been removed since, for every database. */
export function pinsSuite(name: string, open: () => Promise<Store>): void {
  describe(`durability.md, Per database: start, retry and fork hold the version: ${name}`, () => {
    let batches = 0;
    beforeEach(() => {
      batches = 0;
    });

    interface Place {
      readonly store: Store;
      readonly sample: SampleRegistry;
      readonly commit: (...transitions: readonly Transition[]) => ReturnType<Store['commit']>;
    }

    const place = async (t: Cleanup): Promise<Place> => {
      const store = await open();
      release(t, () => store.close());
      await store.registerRunner(sampleRunner('r1'));
      const commit = (...transitions: readonly Transition[]): ReturnType<Store['commit']> =>
        store.commit({ runner: 'r1', lane: 0, n: ++batches, transitions });
      return { store, sample: new SampleRegistry(t, store), commit };
    };
    const made = (create: NewExecution): Transition =>
      sampleTransition(create.id, {
        create,
        events: [{ seq: 1, type: 'execution.created', at: 1, task: null, item: null, attempt: null, data: null }],
      });
    const gone = async ({ registry }: SampleRegistry): Promise<void> => {
      await registry.unregister('p');
    };

    /** Kinds of starts, with the executions that accompany them. */
    const starts: Readonly<Record<string, (create: NewExecution) => readonly NewExecution[]>> = {
      'a start': (create) => [create],
      'a start with an idempotency key': (create) => [{ ...create, idempotencyKey: 'k', inputHash: 'h' }],
      'one of many': (create) => [sampleExecution(), create, sampleExecution()],
    };
    for (const [what, list] of Object.entries(starts)) {
      it(`${what} whose package was unregistered meanwhile is refused and leaves no row`, async (t) => {
        const { store, sample } = await place(t);
        const creates = list(samplePinned(await sample.register('1.0.0')));
        await gone(sample);
        await assert.rejects(store.createExecutions(creates), {
          code: 'PACKAGE_NOT_FOUND',
          packageName: 'p',
          version: '1.0.0',
        });
        for (const { id } of creates) assert.equal(await store.execution(id), undefined);
      });

      it(`${what} whose version was unregistered meanwhile gets the current version of its channel`, async (t) => {
        const { store, sample } = await place(t);
        const one = await sample.register('1.0.0');
        const creates = list(samplePinned(one));
        const two = await sample.register('2.0.0');
        await sample.registry.unregister('p', '1.0.0');
        const created = await store.createExecutions(creates);
        const at = creates.findIndex(({ pin }) => pin !== null);
        assert.equal(created[at]!.buildId, two.digest);
        assert.deepEqual((await store.execution(creates[at]!.id))!.pin, two);
      });
    }

    it('a start is refused if the current version of its channel was yanked', async (t) => {
      const { store, sample } = await place(t);
      const one = samplePinned(await sample.register('1.0.0'));
      await sample.register('2.0.0');
      await sample.registry.yank('p', '2.0.0');
      await assert.rejects(store.createExecutions([one]), {
        code: 'PACKAGE_UNAVAILABLE',
        message: /package p v2\.0\.0 accepts no new executions: it was yanked/,
      });
    });

    it('a start keeps its version while that exists, even if the channel no longer has the workflow', async (t) => {
      const { store, sample } = await place(t);
      const one = await sample.register('1.0.0');
      await sample.register('2.0.0', ['other']);
      const early = samplePinned(one);
      await store.createExecutions([early]);
      assert.deepEqual((await store.execution(early.id))!.pin, one);
      await store.cancel(early.id, 'default');
      await sample.registry.unregister('p', '1.0.0');
      await assert.rejects(store.createExecutions([samplePinned(one)]), { code: 'PACKAGE_NOT_FOUND' });
    });

    it('an idempotency key names its execution, whatever happened to the package', async (t) => {
      const { store, sample } = await place(t);
      const create = samplePinned(await sample.register('1.0.0'), { idempotencyKey: 'k', inputHash: 'h' });
      await store.createExecutions([create]);
      await store.cancel(create.id, 'default');
      await gone(sample);
      const again = { ...create, id: sampleExecution().id };
      assert.deepEqual(
        (await store.createExecutions([again])).map(({ id, created }) => [id, created]),
        [[create.id, false]],
      );
    });

    // on PostgreSQL a commit is one statement, and with some effects a transaction of several
    const forms: Readonly<Record<string, Partial<Transition>>> = {
      plainly: {},
      'with other effects': { effects: sampleEffects({ itemsDropped: ['nothing'] }) },
    };
    for (const [form, other] of Object.entries(forms)) {
      it(`a commit (${form}) lists the executions it cannot start and writes nothing; a second one without them is written`, async (t) => {
        const { store, sample, commit } = await place(t);
        const known = sampleExecution({ owned: true });
        await commit(made(known));
        const stale = samplePinned(await sample.register('1.0.0'), { owned: true });
        await gone(sample);
        const news = sampleTransition(known.id, { tasks: [sampleTaskState('a')], ...other });
        await assert.rejects(commit(made(stale), news), (error: unknown) => {
          assert.ok(error instanceof PinRefusedError);
          assert.deepEqual(
            Array.from(error.refused, ([id, { code, message }]) => [id, code, message]),
            [[stale.id, 'PACKAGE_NOT_FOUND', 'there is no package p v1.0.0']],
          );
          return true;
        });
        assert.deepEqual([await store.execution(stale.id), await store.tasks(known.id)], [undefined, []]);
        await commit(news);
        assert.equal((await store.tasks(known.id)).length, 1);
      });

      it(`a commit (${form}) whose version was unregistered starts the current version of the channel, for any runner`, async (t) => {
        const { store, sample, commit } = await place(t);
        const known = sampleExecution({ owned: true });
        await commit(made(known));
        const stale = samplePinned(await sample.register('1.0.0'), { owned: true, given: '{"raw":1}' });
        const two = await sample.register('2.0.0');
        await sample.registry.unregister('p', '1.0.0');
        const { moved } = await commit(made(stale), sampleTransition(known.id, other));
        assert.deepEqual(moved, [stale.id]);
        const { pin, status, owner, input } = (await store.execution(stale.id))!;
        assert.deepEqual([pin, status, owner, input], [two, 'pending', null, '{"raw":1}']);
      });

      it(`a commit (${form}) does not write a parent whose child cannot start`, async (t) => {
        const { store, sample, commit } = await place(t);
        const parent = sampleExecution({ owned: true });
        await commit(made(parent));
        const child = samplePinned(await sample.register('1.0.0'), {
          rootId: parent.id,
          parent: { id: parent.id, task: 'kid', item: -1 },
        });
        await gone(sample);
        const effects = sampleEffects({ ...other.effects, children: [child] });
        const waits = sampleTaskState('kid', { status: 'waiting' });
        await assert.rejects(commit(sampleTransition(parent.id, { tasks: [waits], effects })), (error: unknown) => {
          assert.ok(error instanceof PinRefusedError);
          return error.refused.has(child.id) && error.refused.size === 1;
        });
        assert.deepEqual([await store.execution(child.id), await store.tasks(parent.id)], [undefined, []]);
      });
    }

    it('a start on a version by name keeps it, and is refused if the version takes no new executions', async (t) => {
      const { store, sample, commit } = await place(t);
      const one = await sample.register('1.0.0');
      await sample.register('2.0.0');
      const named = (): NewExecution => samplePinned(one, { pinBy: 'named', owned: true });
      const first = named();
      await store.createExecutions([first]);
      await commit(made(named()));
      assert.deepEqual((await store.execution(first.id))!.pin, one);
      await sample.registry.yank('p', '1.0.0');
      await assert.rejects(store.createExecutions([named()]), { code: 'PACKAGE_UNAVAILABLE' });
      const late = named();
      await assert.rejects(commit(made(late)), (error: unknown) => {
        assert.ok(error instanceof PinRefusedError);
        return error.refused.get(late.id)?.code === 'PACKAGE_UNAVAILABLE';
      });
    });

    it("a child of its parent's own version starts although that version takes no new executions", async (t) => {
      const { store, sample, commit } = await place(t);
      const pin = await sample.register('1.0.0');
      const parent = samplePinned(pin, { owned: true });
      await commit(made(parent));
      await sample.registry.yank('p', '1.0.0');
      const child = samplePinned(pin, { pinBy: 'origin', parent: { id: parent.id, task: 'kid', item: -1 } });
      await commit(sampleTransition(parent.id, { effects: sampleEffects({ children: [child] }) }));
      assert.deepEqual((await store.execution(child.id))!.pin, pin);
    });

    const ended = async ({ store }: Place, pin: Pin): Promise<string> => {
      const create = samplePinned(pin);
      await store.createExecutions([create]);
      await store.cancel(create.id, 'default');
      return create.id;
    };
    const retry = (id: string, { digest: code }: Pin): Parameters<Store['retry']>[0] => {
      return { id, tenant: 'default', buildId: code, reset: [], gone: [], repin: null };
    };

    it('retry and fork continue on a yanked version and are refused on an unregistered one', async (t) => {
      const here = await place(t);
      const { store, sample } = here;
      const pin = await sample.register('1.0.0');
      const id = await ended(here, pin);
      const fork = (): Parameters<Store['fork']>[0] => {
        return { create: samplePinned(pin, { pinBy: 'origin' }), from: { id, task: 'collect' }, keep: [] };
      };
      await sample.registry.yank('p', '1.0.0');
      assert.deepEqual(await store.retry(retry(id, pin)), { status: 'applied', as: 'pending' });
      const other = fork();
      assert.deepEqual(await store.fork(other), { status: 'applied', as: 'pending' });
      await assert.rejects(gone(sample), { code: 'PACKAGE_IN_USE', activeCount: 2 });
      for (const one of [id, other.create.id]) await store.cancel(one, 'default');
      await gone(sample);
      const refused = { status: 'package_gone', package: 'p', version: '1.0.0' };
      assert.deepEqual(await store.retry(retry(id, pin)), refused);
      const late = fork();
      assert.deepEqual(await store.fork(late), refused);
      assert.equal((await store.execution(id))!.status, 'cancelled');
      assert.equal(await store.execution(late.create.id), undefined);
    });

    it('a version of another tenant is never used', async (t) => {
      const { store, sample } = await place(t);
      const pin = await sample.register('1.0.0');
      await assert.rejects(store.createExecutions([samplePinned(pin, { tenant: 'other' })]), {
        code: 'PACKAGE_NOT_FOUND',
      });
      await store.write(() => run(`update packages set status = 'quarantined'`));
      await assert.rejects(store.createExecutions([samplePinned(pin)]), { code: 'PACKAGE_UNAVAILABLE' });
    });
  });
}

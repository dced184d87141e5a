import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workflow } from '../core/definition/workflow.ts';
import type { Store } from '../store/store.ts';
import { ManualClock } from '../testing/clock.ts';
import { declareDead, openRig, openStores } from '../testing/engine-rig.ts';
import type { Rig } from '../testing/engine-rig.ts';

type Opened = Rig<ManualClock>;

/** Declares a runner dead as an observer would; the runner does not know it yet. */
function eventsAreGapless(events: readonly { readonly seq: number }[]): void {
  assert.deepEqual(
    events.map(({ seq }) => seq),
    events.map((_, i) => i + 1),
  );
}

describe('durability.md, Ownership: an execution has one owner', () => {
  it('two runners on one file share work and never both run one execution', async (t) => {
    const clock = new ManualClock();
    const [one, two, three] = await openStores(t, 3, clock);
    const ran = new Map<string, string[]>();
    const build = (who: string) => {
      const w = workflow('w');
      const a = w.task('a', async ({ executionId }) => {
        ran.set(executionId, [...(ran.get(executionId) ?? []), who]);
        await new Promise<void>((resolve) => clock.timer(30, resolve));
        return 1;
      });
      return w.returns(a);
    };
    const first = await openRig(t, { workflows: [build('one')], store: one!, clock, maxExecutions: 40 });
    const second = await openRig(t, { workflows: [build('two')], store: two!, clock, maxExecutions: 40 });
    const w = build('neither');
    const { client } = await openRig(t, { store: three!, clock });
    const handles = await client.startMany(
      w,
      Array.from({ length: 200 }, () => ({})),
    );
    await clock.advance(1000);
    const statuses = await Promise.all(handles.map(async ({ id }) => (await client.executions.get(id)).status));
    assert.ok(statuses.every((status) => status === 'completed'));
    assert.equal(ran.size, 200);
    assert.ok([...ran.values()].every((who) => who.length === 1));
    assert.deepEqual(new Set([...ran.values()].flat()), new Set(['one', 'two']), 'both took part');
    assert.deepEqual([first.engine.size, second.engine.size], [0, 0]);
  });

  it('a runner claims only its workflows: equal in name and in fingerprint', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const mine = workflow('mine');
    mine.task('a', () => 1);
    const other = workflow('mine');
    other.task('b', () => 1);
    const rig = await openRig(t, { workflows: [mine], store: one!, clock });
    const starter = await openRig(t, { store: two!, clock });
    const yes = await starter.client.start(mine);
    const no = await starter.client.start(other);
    await clock.advance(200);
    const status = async (id: string): Promise<string> => (await rig.client.executions.get(id)).status;
    assert.deepEqual([await status(yes.id), await status(no.id)], ['completed', 'pending']);
  });

  it('a runner with ownOnly claims only its own executions', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.task('a', () => 1);
    const starter = await openRig(t, { store: one!, clock });
    const before = await starter.client.start(w);
    const rig = await openRig(t, { workflows: [w], store: two!, clock, ownOnly: true });
    const own = await rig.client.start(w);
    await rig.client.startMany(w, [{}]);
    const after = await starter.client.start(w);
    await clock.advance(200);
    assert.equal((await own.outcome()).status, 'completed');
    const statuses = (await rig.client.executions.list()).items.map(({ id, status }) => [id, status]);
    const pending = statuses.flatMap(([id, status]) => (status === 'pending' ? [id] : []));
    assert.deepEqual(new Set(pending), new Set([before.id, after.id]));
    assert.equal(statuses.length, 4);
  });

  it('a runner that claims at once writes execution.created with itself, and a later owner writes execution.started', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.task('a', () => 1);
    const rig = await openRig(t, { workflows: [w], store: one!, clock });
    const { executionId } = await rig.client.execute(w);
    const [created] = await rig.client.executions.events(executionId);
    assert.deepEqual([created!.type, created!.runner], ['execution.created', rig.engine.id]);
    const starter = await openRig(t, { store: two!, clock });
    const { id } = await starter.client.start(w);
    await clock.advance(100);
    const [made, started] = await rig.client.executions.events(id);
    assert.deepEqual([made!.type, made!.runner], ['execution.created', null]);
    assert.deepEqual([started!.type, started!.runner], ['execution.started', rig.engine.id]);
  });

  it('an execution that a runner owns without knowing it (the answer to its claim was lost) is released', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const w = workflow('w');
    w.task('a', () => 1);
    let lose = true;
    const claim: Store['claim'] = async (options) => {
      const claimed = await one!.claim(options);
      if (!lose || claimed.length === 0) return claimed;
      lose = false;
      throw new Error('the connection broke');
    };
    const rig = await openRig(t, { workflows: [w], store: { ...one!, claim }, clock });
    const starter = await openRig(t, { store: two!, clock });
    const { id } = await starter.client.start(w);
    await clock.advance(200);
    assert.equal((await two!.execution(id))!.owner, rig.engine.id);
    assert.equal(rig.engine.size, 0);
    await clock.advance(6000);
    assert.equal((await two!.execution(id))!.status, 'completed');
  });
});

describe('durability.md, death and adoption', () => {
  const stuck = (ran: string[], who: string) => {
    const w = workflow('w');
    const first = w.task('first', () => {
      ran.push(`${who} first`);
      return 1;
    });
    const second = w.task('second', { needs: { first } }, async ({ needs, attempt }) => {
      ran.push(`${who} second ${attempt}`);
      if (who === 'one') await new Promise(() => undefined);
      return needs.first + 1;
    });
    return w.returns(second);
  };

  it('executions of a dead runner are adopted: they resume from durable state, and the cut attempt is not charged', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const rig = await openRig(t, { workflows: [stuck(ran, 'one')], store: one!, clock, graceMs: 0 });
    const { id } = await rig.client.start(stuck([], 'one'));
    await clock.settle();
    const before = rig.engine.id;
    await declareDead(two!, before);
    const other = await openRig(t, { workflows: [stuck(ran, 'two')], store: two!, clock });
    await clock.settle();
    const outcome = await other.client.handle(id).outcome();
    assert.ok(outcome.status === 'completed' && outcome.output === 2);
    assert.deepEqual(ran, ['one first', 'one second 1', 'two second 2']);
    const [, second] = (await two!.tasks(id)).toSorted((a, b) => (a.task < b.task ? -1 : 1));
    assert.deepEqual([second!.attempt, second!.chargedAttempts, second!.epoch], [2, 0, 2]);
    const events = await other.client.executions.events(id);
    eventsAreGapless(events);
    const adopted = events.find(({ type }) => type === 'execution.adopted');
    assert.equal(adopted!.runner, other.engine.id);
  });

  it('a runner that learns that it is dead aborts every attempt, forgets its executions, registers anew and continues', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    let reason: unknown;
    const w = workflow('w');
    const a = w.task('a', async ({ signal, attempt }) => {
      if (attempt > 1) return attempt;
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      reason = signal.reason;
      return 1;
    });
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done], store: one!, clock });
    const handle = await rig.client.start(done);
    await clock.settle();
    const before = rig.engine.id;
    await declareDead(two!, before);
    await clock.advance(5100);
    assert.match(String(reason), /lease/);
    assert.notEqual(rig.engine.id, before);
    assert.deepEqual(
      (await two!.runners()).map(({ id }) => id),
      [rig.engine.id],
    );
    // it takes its own execution over from its dead id
    await clock.advance(5000);
    assert.deepEqual((await handle.result()).output, 2);
  });

  it('the fence: a zombie writes nothing, and notices at its next commit', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    let go: () => void = () => undefined;
    const ran: string[] = [];
    const build = (who: string) => {
      const w = workflow('w');
      const a = w.task('a', async () => {
        if (who === 'one') await new Promise<void>((resolve) => (go = resolve));
        return who;
      });
      const b = w.task('b', { needs: { a } }, ({ needs }) => {
        ran.push(`${who} b after ${needs.a}`);
        return needs.a;
      });
      return w.returns(b);
    };
    const w = build('one');
    const rig = await openRig(t, { workflows: [w], store: one!, clock });
    const { id } = await rig.client.start(w);
    await clock.settle();
    const zombie = rig.engine.id;
    await declareDead(two!, zombie);
    const other = await openRig(t, { workflows: [build('two')], store: two!, clock });
    await clock.settle();
    assert.equal((await two!.execution(id))!.output, '"two"');
    go();
    await clock.settle();
    assert.notEqual(rig.engine.id, zombie);
    assert.equal(rig.engine.size, 0);
    assert.deepEqual(ran, ['two b after two']);
    const events = await other.client.executions.events(id);
    eventsAreGapless(events);
    assert.ok(events.slice(2).every(({ runner }) => runner === other.engine.id));
  });

  it('a start on a runner that is declared dead still becomes durable, once', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const w = workflow('w');
    const a = w.task('a', () => 1);
    const done = w.returns(a);
    const rig = await openRig(t, { workflows: [done], store: one!, clock });
    await declareDead(two!, rig.engine.id);
    const starts = Promise.all([rig.client.start(done), rig.client.start(done, {}, { startAt: '20s' })]);
    await clock.advance(1000);
    const [now, later] = await starts;
    assert.equal((await now.result()).output, 1);
    await clock.advance(20_000);
    assert.equal((await later.result()).output, 1);
    assert.equal((await rig.client.executions.list()).items.length, 2);
  });

  it('every sweep releases executions whose owner is marked dead or has no row', async (t) => {
    const clock = new ManualClock();
    const frozen = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const rig = await openRig(t, { workflows: [stuck(ran, 'one')], store: one!, clock: frozen, graceMs: 0 });
    const { id } = await rig.client.start(stuck([], 'one'));
    await frozen.settle();
    const other = await openRig(t, { workflows: [stuck(ran, 'two')], store: two!, clock });
    await clock.settle();
    await two!.removeRunner(rig.engine.id);
    await clock.advance(5100);
    assert.equal((await two!.execution(id))!.status, 'completed');
    assert.ok(ran.includes('two second 2'), other.engine.id);
  });

  it('a living process of this host keeps its executions, whatever the age of its lease', async (t) => {
    const clock = new ManualClock();
    const [one, two] = await openStores(t, 2, clock);
    const ran: string[] = [];
    const frozen = new ManualClock();
    const rig = await openRig(t, { workflows: [stuck(ran, 'one')], store: one!, clock: frozen, graceMs: 0 });
    const { id } = await rig.client.start(stuck([], 'one'));
    await frozen.settle();
    await openRig(t, { workflows: [stuck(ran, 'two')], store: two!, clock });
    await clock.advance(60_000);
    assert.equal((await two!.execution(id))!.owner, rig.engine.id);
  });

  it('a runner of another host is dead only after the same lease was observed for a whole lease', async (t) => {
    const clock = new ManualClock();
    const [one] = await openStores(t, 1, clock);
    const other = {
      id: 'far',
      name: 'far',
      host: 'elsewhere',
      pid: 1,
      pidStarted: null,
      dead: false,
      queues: ['default'],
      slots: 0,
      buildIds: [],
    };
    await one!.registerRunner({ ...other, leaseUntil: clock.now() - 3_600_000 });
    const rig = await openRig(t, { store: one!, clock });
    const known = async (): Promise<boolean> => (await one!.runners()).some(({ id }) => id === 'far');
    // its lease expired long ago, but no runner here has observed that yet
    await clock.advance(14_000);
    assert.ok(await known());
    // a renewal restarts the observation
    await one!.renew({ runner: 'far', leaseMs: 15_000, buildIds: [] });
    await clock.advance(14_000);
    assert.ok(await known());
    // the wall clock jumps, which alone declares no runner dead
    clock.setNow(clock.now() + 86_400_000);
    await clock.advance(1000);
    assert.ok(await known());
    await clock.advance(11_000);
    assert.ok(!(await known()));
    assert.ok(rig.logged.some(({ message }) => /a runner died/.test(message)));
  });
});

describe('durability.md, Poison suspects', () => {
  /** A workflow whose task crashes its process: its runner is declared dead whenever the task runs. */
  interface Scene {
    readonly ran: string[];
    readonly store: Store;
    readonly clock: ManualClock;
    /** Opens a runner; with its own clock its time stops once it is declared dead. */
    readonly open: (own?: ManualClock) => Promise<Opened>;
  }

  async function scene(t: Parameters<typeof openRig>[0], attempts: number): Promise<Scene> {
    const clock = new ManualClock();
    const [watcher] = await openStores(t, 1, clock);
    const ran: string[] = [];
    const open = async (own = clock): Promise<Opened> => {
      const killer = workflow('killer');
      killer.task('kill', { retry: { attempts } }, ({ attempt }) => {
        ran.push(`kill ${attempt}`);
        return new Promise<number>(() => undefined);
      });
      const innocent = workflow('innocent');
      const work = innocent.task('work', ({ attempt }) => {
        ran.push(`work ${attempt}`);
        return new Promise<number>(() => undefined);
      });
      const done = innocent.returns(work);
      return openRig(t, { workflows: [killer, done], store: watcher!, clock: own, graceMs: 0 });
    };
    return { ran, store: watcher!, clock, open };
  }

  it('after two deaths without progress, attempts of the execution are durable before they begin, and charged; others are not', async (t) => {
    const { ran, store, clock, open } = await scene(t, 3);
    const first = await open();
    const { id } = await first.client.start('killer');
    await first.client.start('innocent');
    await clock.settle();
    const used = async (execution: string): Promise<number[]> =>
      (await store.tasks(execution)).map((task) => task.chargedAttempts);
    let rig = first;
    const charged: number[][] = [];
    // the crash of the process: its runner is dead, and nothing of it continues
    for (let death = 1; death <= 5; death++) {
      await declareDead(store, rig.engine.id);
      rig = await open();
      await clock.settle();
      charged.push(await used(id));
    }
    assert.deepEqual(charged, [[0], [1], [2], [3], [3]]);
    const record = (await store.execution(id))!;
    assert.equal(record.status, 'failed');
    assert.equal((JSON.parse(record.error!) as { code: string }).code, 'TASK_CRASHED_RUNNER');
    // the innocent execution is suspected too, queues behind the killer without being charged, and runs afterwards
    const turns = ['kill 1', 'work 1', 'kill 2', 'work 2', 'kill 3', 'kill 4', 'kill 5', 'work 3'];
    assert.deepEqual(ran, turns);
  });

  it('one suspect runs at a time; after 60 s the next begins', async (t) => {
    const { ran, store, clock, open: openScene } = await scene(t, 9);
    let rig = await openScene(new ManualClock());
    await rig.client.start('killer');
    await rig.client.start('innocent');
    await clock.settle();
    for (let death = 1; death <= 2; death++) {
      await declareDead(store, rig.engine.id);
      rig = await openScene(death === 2 ? clock : new ManualClock());
      await clock.settle();
    }
    ran.length = 0;
    await clock.advance(59_000);
    assert.deepEqual(ran, []);
    await clock.advance(2000);
    assert.deepEqual(ran, ['work 3']);
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { AnyWorkflow } from '../core/definition/definition.ts';
import { WorkflowNotFoundError } from '../core/error.ts';
import { workflow } from '../core/definition/workflow.ts';
import type { Logger } from '../engine/logger.ts';
import { resolveEmbedded } from '../engine/client/start.ts';
import type { ResolvedWorkflow } from '../engine/client/start.ts';
import { ScheduleLoop } from '../schedule/loop.ts';
import { Schedules } from '../schedule/schedules.ts';
import type { ExecutionRecord, Store } from '../store/store.ts';
import { run } from '../store/script.ts';
import { ManualClock } from './clock.ts';
import { rigDatabase, rigStores } from './rig-store.ts';
import { sampleFilter } from './samples.ts';

async function openPlace(url: string, clock: ManualClock): Promise<Store> {
  const [store] = await rigStores(url, 1, clock);
  return store!;
}

/** A database with schedules and without a runner: executions stay pending until `end`. */
export class SchedulePlace {
  readonly clock: ManualClock;
  readonly store: Store;
  readonly schedules: Schedules;
  /** The workflows that can be started, by name; tests add and remove some. */
  readonly workflows: Map<string, AnyWorkflow> = new Map([['etl', withTask(workflow('etl'))]]);
  readonly logged: { readonly level: string; readonly message: string; readonly data: object }[] = [];
  readonly #t: TestContext;
  readonly #url: string;
  /** How often a loop notified runners. */
  notifications = 0;
  /** Called while a loop or a verb looks up a workflow. */
  onResolve: () => Promise<void> = () => Promise.resolve();
  /** All loops that were opened. */
  readonly loops: ScheduleLoop[] = [];

  private constructor(t: TestContext, clock: ManualClock, url: string, store: Store) {
    this.#t = t;
    this.clock = clock;
    this.#url = url;
    this.store = store;
    this.schedules = this.schedulesOf('default');
  }

  static async open(t: TestContext, now: number | Date = Date.UTC(2026, 0, 1)): Promise<SchedulePlace> {
    const clock = new ManualClock({ now });
    const url = rigDatabase(() => {
      const folder = mkdtempSync(join(tmpdir(), 'cloacina-schedules-'));
      t.after(() => rmSync(folder, { recursive: true, force: true }));
      return folder;
    });
    const place = new SchedulePlace(t, clock, url, await openPlace(url, clock));
    t.after(() => place.store.close());
    return place;
  }

  schedulesOf(tenant: string): Schedules {
    const { store, clock } = this;
    const resolve = (name: string): Promise<ResolvedWorkflow> => this.#resolve(name);
    const onChange = (): void => this.loops.forEach((loop) => loop.notify());
    return new Schedules({ store, tenant, clock, maxPayload: 10_000, resolve, onChange });
  }

  /** A loop on its own connection, as in another process. */
  async loop(tenants: readonly string[] | null = null): Promise<ScheduleLoop> {
    const store = await openPlace(this.#url, this.clock);
    const loop = new ScheduleLoop({
      store,
      clock: this.clock,
      logger: this.#logger(),
      maxPayload: 10_000,
      tenants,
      resolve: (_tenant, name) => this.#resolve(name),
      notify: () => void (this.notifications += 1),
    });
    this.loops.push(loop);
    this.#t.after(async () => {
      await loop.close();
      await store.close();
    });
    await this.clock.settle();
    return loop;
  }

  /** The existing executions, by slot. */
  async executions(tenant = 'default'): Promise<readonly ExecutionRecord[]> {
    return (await this.store.list(sampleFilter({ tenant, limit: 100_000 }))).toSorted(
      (a, b) => (a.schedule?.slot ?? 0) - (b.schedule?.slot ?? 0),
    );
  }

  /** The slots that started an execution, as ISO times without their common parts. */
  async started(): Promise<readonly string[]> {
    return (await this.executions()).map(({ schedule }) => iso(schedule!.slot) + (schedule!.isCatchUp ? ' late' : ''));
  }

  /** The history of a schedule, oldest first: `<first>[..<last> x<count>] <outcome or reason>`. */
  async historyOf(name: string): Promise<readonly string[]> {
    const rows = await this.schedules.history(name, { limit: 1000 });
    return rows.toReversed().map(({ slot, through, count, outcome, reason }) => {
      const range = count === 1 ? iso(slot) : `${iso(slot)}..${iso(through)} x${count}`;
      return `${range} ${reason ?? outcome}`;
    });
  }

  /** Ends one execution, or all. */
  async end(status: 'completed' | 'failed' | 'cancelled', id: string | null = null): Promise<void> {
    await this.store.write(() =>
      run(
        'update executions set status = $1, ended_at = $2 where ended_at is null and (cast($3 as text) is null or id = $3)',
        status,
        this.clock.now(),
        id,
      ),
    );
  }

  async #resolve(name: string): Promise<ResolvedWorkflow> {
    await this.onResolve();
    const found = this.workflows.get(name.replace(/^.*\//, ''));
    if (found === undefined) throw new WorkflowNotFoundError(name, [...this.workflows.keys()]);
    return resolveEmbedded(found);
  }

  #logger(): Logger {
    const log = (level: string) => (data: object, message: string) => void this.logged.push({ level, message, data });
    return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
  }
}

/** `01-02T03:04:05` of 2026; other years in full. */
export function iso(instant: number): string {
  return new Date(instant).toISOString().replace('.000Z', '').replace('2026-', '');
}

/** A definition with a task that does nothing. */
export function withTask<Definition extends { task(name: string, run: () => null): unknown }>(
  definition: Definition,
): Definition {
  definition.task('work', () => null);
  return definition;
}

import { CloacinaError } from '../core/error.ts';
import { defaultQueue, queuesOf } from '../core/definition/graph.ts';
import type { NewExecution } from '../store/transition.ts';
import { BusyError } from '../store/store.ts';
import type { Claim, ClaimedExecution, Renewal } from '../store/store.ts';
import { Catalog } from './catalog.ts';
import { compareOwned } from './liveness/compare-owned.ts';
import { delay } from './clock.ts';
import type { LoadedWorkflow } from './catalog.ts';
import type { TaskCall } from './workflow-code.ts';
import type { EngineOptions } from './engine-options.ts';
import { Helper } from './sharing/helper.ts';
import type { HelperOptions } from './sharing/helper.ts';
import { Hooks } from './hooks.ts';
import { Journal } from './journal.ts';
import type { Participant } from './journal.ts';
import { FamilyLimit } from './execution/family-limit.ts';
import { Live } from './execution/live.ts';
import type { LiveHost } from './execution/live.ts';
import { Poller } from './poller.ts';
import { Membership } from './liveness/membership.ts';
import { OfferBudget } from './sharing/offer-budget.ts';
import { Pruner } from './liveness/pruner.ts';
import { Slots } from './slots.ts';
import type { ResolvedWorkflow } from './client/start.ts';
import { Submission } from './client/submission.ts';
import { Submissions } from './client/submissions.ts';
import { Suspects } from './poison-suspects.ts';

/** Interval of checks for commits of other processes; reading `data_version` costs a few microseconds. */
const defaultPollMs = 25;
/** Maximum number of executions per claim. */
const claimLimit = 100;
/** Maximum wait of a close for an unavailable database, after the grace period of its attempts. */
const releaseMs = 10_000;
/** Owns and advances executions: claims them, renews its lease, reads their messages, releases them. */
export class Engine {
  readonly catalog: Catalog;
  readonly #options: EngineOptions;
  readonly #lives = new Map<string, Live>();
  readonly #slots: Slots;
  readonly #suspects: Suspects;
  readonly #membership: Membership;
  readonly #submissions: Submissions;
  readonly #poller: Poller;
  readonly #pruner: Pruner;
  readonly #roots: string[] | null;
  readonly #ownBuilds: Set<string> | null;
  readonly #keepAlive: NodeJS.Timeout | undefined;
  readonly #offers: OfferBudget;
  readonly #families: FamilyLimit;
  #helper: Helper;
  #journal: Journal;
  #host: LiveHost;
  #closing = false;
  #failure: Error | undefined;
  #closed: Promise<void> | undefined;
  #onEmpty: (() => void) | undefined;

  private constructor(options: EngineOptions) {
    this.#options = options;
    this.#keepAlive = options.keepAlive === false ? undefined : setInterval(() => undefined, 0x7fff_ffff);
    const queues = options.queues ?? [defaultQueue];
    this.catalog = new Catalog(() => {
      this.#membership.buildsChanged();
      this.notify();
    }, queues);
    this.#slots = new Slots(options.concurrency);
    this.#suspects = new Suspects(options, () => this.notify());
    this.#roots = options.ownOnly ? [] : null;
    this.#ownBuilds = options.ownOnly ? new Set() : null;
    const { store, clock, logger, concurrency: slots } = options;
    this.#families = new FamilyLimit(options);
    const onMore = (): void => this.#lives.forEach((live) => live.moreHelp());
    this.#offers = new OfferBudget({ clock, logger, queues, slots, onMore });
    this.#membership = new Membership({
      ...options,
      identity: options.identity,
      queues,
      slots,
      onMet: (others) => this.#offers.meet(others),
      announced: options.ownOnly ? [] : options.embedded.map(({ buildId }) => buildId),
      embedded: () => this.catalog.allEmbedded(),
      keepsFromThread: options.keepsFromThread ?? false,
      buildIds: () => this.#buildIds(),
      waitsSince: () => this.#journal.waitsSince,
      onDead: () => this.#fenced(),
      onRenewed: (renewal) => this.#renewed(renewal),
      onReleased: () => this.notify(),
    });
    this.#submissions = new Submissions(clock, (participant) => this.#withdraw(participant));
    this.#journal = this.#newJournal();
    this.#host = this.#newHost();
    this.#helper = this.#newHelper();
    this.#poller = new Poller({
      store,
      clock,
      logger,
      claim: () => this.#claim(),
      take: (claim) => this.#suspects.take(claim, (claimed, endTurn) => this.#adopt(claimed, endTurn)),
      help: () => this.#helper.poll(),
      compare: () =>
        compareOwned({ ...options, lives: this.#lives, journal: this.#journal, runner: this.#membership.id }),
      reader: () => (this.#lives.size === 0 ? null : this.#membership.id),
      onMessages: (id, messages) => this.#lives.get(id)?.receive(messages),
      onChanged: (beyond) => {
        this.#membership.othersMayDiffer();
        options.onChanged(beyond);
      },
      onRound: () => void this.#membership.checkNeighbours(),
      pollMs: options.pollMs ?? defaultPollMs,
    });
    this.#pruner = new Pruner(options);
  }

  /** Registers a runner, takes over from dead runners, and starts polling for work. */
  static async open(options: EngineOptions): Promise<Engine> {
    const engine = new Engine(options);
    try {
      await engine.#membership.join();
    } catch (error) {
      clearInterval(engine.#keepAlive);
      throw error;
    }
    engine.#poller.start();
    if (!options.ownOnly) engine.#pruner.start();
    return engine;
  }

  get id(): string {
    return this.#membership.id;
  }

  /** Number of owned executions. */
  get size(): number {
    return this.#lives.size;
  }

  /** Number of task functions that run now. */
  get attempts(): number {
    return this.#slots.active;
  }

  /** Returns true if an execution of that tenant is owned here. */
  has(id: string, tenant: string): boolean {
    return this.#lives.get(id)?.tenant === tenant;
  }

  /** Returns true if an execution of this build is owned here. */
  runs(buildId: string): boolean {
    for (const live of this.#lives.values()) if (live.workflow.buildId === buildId) return true;
    return false;
  }

  /** Makes a new execution durable, and runs it here if there is capacity. Resolves once it is durable. */
  async start(create: NewExecution, workflow: LoadedWorkflow | undefined): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closing) throw new CloacinaError('RUNNER_CLOSED', 'the runner is closing; it takes no new executions');
    // only a claim can tell whether a concurrency limit admits one more
    const here =
      workflow !== undefined &&
      create.startAt === null &&
      create.limitKey === null &&
      this.catalog.owns(workflow) &&
      this.#lives.size < this.#options.maxExecutions;
    this.#own(create.rootId, create.buildId);
    await this.#submissions.submit(
      create,
      workflow,
      (durable, refused) => {
        if (here) {
          const live = Live.create(this.#host, workflow, { ...create, owned: true }, { durable, refused });
          this.#lives.set(live.id, live);
          return live;
        }
        const submission = new Submission({ ...create, owned: false }, durable, refused);
        this.#journal.mark(submission);
        return submission;
      },
      this.#journal.awaySince !== undefined,
    );
    if (workflow !== undefined && !this.catalog.owns(workflow)) {
      for (const queue of queuesOf(workflow.graph.spec)) this.#offers.wanted(queue);
    }
    if (!here) this.#submitted(create.buildId);
  }

  /** Permits an execution that was started for this runner by another component, even if `ownOnly` is set. */
  mayTake(rootId: string, buildId: string): void {
    this.#own(rootId, buildId);
    this.#submitted(buildId);
  }

  /** Follows its own executions, if it takes no others: a channel that went back may have moved them to another version. */
  followOwn(): void {
    for (const id of new Set(this.#roots)) void this.#follow(id);
  }

  /** Returns true if a build is wanted here: any, unless `ownOnly` is set and no execution of it was started here. */
  wants(buildId: string): boolean {
    return this.#ownBuilds === null || this.#ownBuilds.has(buildId);
  }

  /** Follows an execution of this runner to the version that it has now, if that is not the intended one. */
  async #follow(id: string): Promise<void> {
    try {
      const record = await this.#options.store.execution(id);
      if (record !== undefined) this.mayTake(record.rootId, record.buildId);
    } catch (error) {
      this.#options.logger.warn({ execution: id, error }, 'the version of an execution could not be read');
    }
  }

  /** Polls for messages, work and due timers after a possible change. */
  notify(): void {
    this.#poller.notify();
  }

  /** Runs the embedded workflows from now on, and takes over what waits for older definitions of them. */
  async embed(): Promise<void> {
    for (const loaded of this.#options.embedded) this.catalog.add([loaded]);
    await this.#membership.moveRetiredExecutions();
  }

  /** Stops claiming; lets attempts end for `drainMs`, then aborts them; releases unfinished executions. */
  async close(drainMs: number): Promise<void> {
    this.#closed ??= this.#close(drainMs);
    await this.#closed;
  }

  /** Stops after the loss of the database: nothing can be made durable, and the process is not kept alive. */
  fail(error: Error): void {
    this.#failure = error;
    this.#submissions.close(error);
    this.#membership.rest();
    void this.#poller.close();
    this.#helper.abandon();
    this.#abandonAll();
    void this.close(0);
  }

  async #close(drainMs: number): Promise<void> {
    this.#closing = true;
    await this.#pruner.close();
    await this.#poller.readInboxOnly();
    this.#slots.hold(true);
    if (this.#runs > 0 && drainMs > 0) await this.#drained(drainMs);
    for (const live of this.#lives.values()) live.release();
    const limitMs = this.#options.graceMs + releaseMs;
    const helped = this.#failure === undefined ? this.#helper.close(limitMs) : undefined;
    if (this.#lives.size > 0) await this.#emptied();
    await helped;
    this.#offers.close();
    await this.#settled(limitMs);
    await this.#poller.close();
    this.#submissions.close();
    clearInterval(this.#keepAlive);
    await this.#membership.leave();
  }

  /** Waits until nothing is left to write: at most `limitMs` for a database that does not answer. */
  async #settled(limitMs: number): Promise<void> {
    const timer = this.#options.clock.timer(limitMs, () => {
      this.#submissions.close(this.#failure);
      this.#journal.fence();
    });
    await this.#journal.settled();
    timer.cancel();
  }

  /** A child's name without a package first means a workflow beside the parent: same version, or embedded too. */
  async #resolveChild(live: Live, name: string): Promise<ResolvedWorkflow> {
    const { buildId, pin } = live.workflow;
    const beside = pin === null ? this.catalog.embedded(name) : this.catalog.find(buildId, name, live.tenant);
    if (beside === undefined) return this.#options.resolve(live.tenant, name);
    return { spec: beside.graph.spec, buildId: beside.buildId, pin, code: beside.code, pinBy: 'origin' };
  }

  /** Waits until all executions are released. A failed release leaves the rows unchanged, for other runners to find. */
  async #emptied(): Promise<void> {
    const { clock, graceMs, logger } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onEmpty = resolve;
    const timer = clock.timer(graceMs + releaseMs, () => {
      logger.error({ executions: this.#lives.size }, 'executions could not be released; runners will claim them');
      this.#abandonAll();
    });
    await promise;
    timer.cancel();
  }

  /** Drops all executions without writing. */
  #abandonAll(): void {
    this.#journal.fence();
    for (const live of this.#lives.values()) live.abandon();
  }

  /** Number of running attempts, here and at helpers. */
  get #runs(): number {
    return this.#slots.active + this.#offers.taken;
  }

  async #drained(drainMs: number): Promise<void> {
    const { clock } = this.#options;
    const until = clock.monotonic() + drainMs;
    while (this.#runs > 0 && clock.monotonic() < until) {
      await delay(clock, Math.min(20, drainMs));
    }
  }

  #own(rootId: string, buildId: string): void {
    this.#roots?.push(rootId);
    this.#ownBuilds?.add(buildId);
    if (this.#ownBuilds !== null) this.#membership.buildsChanged();
  }

  #submitted(buildId: string): void {
    this.notify();
    if (!this.catalog.has(buildId)) this.#options.onBuildWanted();
  }

  #withdraw(participant: Participant): 'withdrawn' | 'sent' | 'unknown' {
    const how = this.#journal.withdraw(participant);
    const live = this.#lives.get(participant.id);
    if (how === 'withdrawn' && live === participant) live.abandon();
    return how;
  }

  // -- taking

  #claim(): Omit<Claim, 'now'> | null {
    const room = this.#options.maxExecutions - this.#lives.size;
    const { buildIds, except } = this.catalog.claimable;
    if (this.#closing || room <= 0 || buildIds.length === 0 || this.#journal.awaySince !== undefined) return null;
    const { limits } = this.catalog;
    const limit = Math.min(room, claimLimit);
    return { runner: this.#membership.id, limit, buildIds, except, roots: this.#roots, limits };
  }

  /** Takes a claimed execution into memory; returns false if its workflow is not loaded. */
  #adopt(claimed: ClaimedExecution, endTurn: (() => void) | undefined): boolean {
    const { id, tenant, buildId, workflow, epoch } = claimed.execution;
    const loaded = this.catalog.find(buildId, workflow, tenant);
    if (loaded === undefined) {
      // its workflow was unloaded after the claim: another runner may have it
      this.#options.store.releaseExecution(id, this.#membership.id, epoch).catch((error: unknown) => {
        // what this runner owns without knowing of it is found when rows and memory are compared
        this.#options.logger.warn({ execution: id, error }, 'an execution could not be released; retrying');
      });
      return false;
    }
    this.#lives.get(id)?.abandon();
    this.#lives.set(id, Live.adopt(this.#host, loaded, claimed, endTurn));
    return true;
  }

  // -- lease

  /** Passes the renewal on, and polls for what it reports. */
  #renewed(renewal: Renewal): void {
    this.#options.onRenewed?.(renewal);
    if (this.#closing) return;
    const { hasWork, nextWake, owned } = renewal;
    // the pass that compares reads the inbox first
    if (owned > 0 || this.#lives.size > 0) this.#poller.compareSoon();
    else if (hasWork) this.#poller.catchUp();
    else if (nextWake !== null) this.#poller.dueAt(nextWake);
  }

  #buildIds(): readonly string[] {
    return this.#ownBuilds === null ? this.catalog.buildIds() : [...this.#ownBuilds];
  }

  /** Handles being declared dead: aborts every attempt, drops its executions, registers anew. */
  #fenced(): void {
    if (this.#closing) {
      this.#helper.abandon();
      this.#abandonAll();
      return;
    }
    const { logger } = this.#options;
    logger.warn(
      { runner: this.#membership.id },
      'this runner was declared dead; it registers again, and its executions are taken over',
    );
    this.#journal.fence();
    this.#submissions.cut();
    const lives = [...this.#lives.values()];
    this.#membership.beginAnew(() => {
      this.#submissions.resubmit(
        (create, workflow) => this.start(create, workflow),
        async (id) => (await this.#options.store.execution(id)) !== undefined,
      );
      this.notify();
    });
    this.#journal = this.#newJournal();
    this.#host = this.#newHost();
    this.#helper.abandon();
    this.#helper = this.#newHelper();
    for (const live of lives) live.abandon();
    // the new journal finds out whether the database is available; abandoned executions request no slots
    this.#slots.hold(false);
  }

  // -- wiring

  #newJournal(): Journal {
    const { store, clock, logger } = this.#options;
    const runner = this.#membership.id;
    const journal: Journal = new Journal({
      lanes: store.commitLanes,
      // starts must wait for the row of the new runner
      commit: (place, transitions) =>
        this.#membership.hasJoined
          ? store.commit({ runner, ...place, transitions })
          : Promise.reject(new BusyError('the runner has not registered yet')),
      clock,
      logger,
      // a late answer about a runner that is already dead is ignored
      onFenced: () => (this.#journal === journal ? this.#fenced() : undefined),
      onWaits: (since) => {
        if (this.#journal === journal) this.#membership.commitWaits(since);
      },
      onAway: (away) => {
        if (this.#journal !== journal) return;
        this.#slots.hold(away || this.#closing);
        if (away) this.#submissions.watch();
        else this.notify();
      },
    });
    return journal;
  }

  #onRun({ workflow, task, executionId }: TaskCall): (() => void) | undefined {
    return this.#membership.attempt(() => `${workflow}/${task} (${executionId})`);
  }

  #newHelper(): Helper {
    const { onProgress } = this.#host;
    const options: HelperOptions = {
      ...this.#options,
      catalog: this.catalog,
      slots: this.#slots,
      suspects: this.#suspects.slots,
      queues: this.#options.queues ?? [defaultQueue],
      mayHelp: () =>
        !this.#closing && this.#roots === null && this.#journal.awaySince === undefined && this.#offers.hasOthers,
      onRun: (call) => this.#onRun(call),
      onProgress,
      onFree: () => this.notify(),
    };
    return new Helper(options, this.#membership.id);
  }

  #newHost(): LiveHost {
    const { store, clock, logger, graceMs, maxPayload, itemsPerCommit, random, onEnded } = this.#options;
    const hooks = new Hooks(this.#options);
    return {
      clock,
      journal: this.#journal,
      slots: this.#slots,
      offers: this.#offers,
      suspects: this.#suspects.slots,
      logger,
      graceMs,
      maxPayload,
      itemsPerCommit,
      random,
      onRun: (call) => this.#onRun(call),
      execution: (id) => store.execution(id),
      runner: this.#membership.id,
      transactTask: (task) => store.transactTask(task),
      taskEndOutcome: (end) => store.taskEndOutcome(end),
      resolveChild: (live, name) => this.#resolveChild(live, name),
      admitChild: (rootId, depth) => this.#families.admit(rootId, depth),
      onChild: (rootId, code) => this.mayTake(rootId, code),
      stepResult: (id, task, item, name) => store.step(id, task, item, name),
      onEvents: (live, events) => {
        hooks.events(live.id, live.workflow.graph.spec.name, events);
        this.#options.onCommitted();
      },
      onProgress: (executionId, task, done, text) => hooks.progress({ executionId, task, done, text }),
      onMessagesSent: () => this.notify(),
      onKept: () => this.notify(),
      onGone: (live, how) => {
        if (this.#lives.get(live.id) === live) this.#lives.delete(live.id);
        if (typeof how === 'object') onEnded(live.id, how);
        if (this.#lives.size === 0) this.#onEmpty?.();
        // a slot or a limit is free, an execution is pending, or one waits for its time in the database
        const { concurrency } = live.workflow.graph.spec;
        const room = this.#lives.size === this.#options.maxExecutions - 1 || concurrency !== null;
        if (how === 'moved' && this.#roots !== null) void this.#follow(live.id);
        if (how === 'moved' || how === 'released' || room || live.hasParent) this.notify();
      },
    };
  }
}

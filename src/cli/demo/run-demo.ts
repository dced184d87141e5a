import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatMs, hourMs } from '../../core/duration.ts';
import { CloacinaError, OptionInvalidError, PackageExistsError, ScheduleExistsError } from '../../core/error.ts';
import { scheduleRule } from '../../core/schedule/rule.ts';
import { delay, systemClock } from '../../engine/clock.ts';
import { stderrLogger } from '../../engine/logger.ts';
import type { Logger } from '../../engine/logger.ts';
import type { WorkflowEntry } from '../../engine/client/workflows.ts';
import { Client, Runner } from '../../open.ts';
import { openNetworkText } from '../../package/isolate/network.ts';
import type { PackageEvent } from '../../package/load/reconciler.ts';
import { openStorage } from '../../package/storage/open.ts';
import { databasePlace } from '../../store/open.ts';
import { buildDemoPackage, demoWorkflow } from './demo-package.ts';
import { readReport, reportLines } from './demo-report.ts';
import { intervalRule } from './interval.ts';
import { ScheduledRuns, timeOfDay } from './scheduled-runs.ts';
import { Story } from './narration.ts';

/** The default folder of database and packages, relative to the working folder. */
const demoFolder = './.cloacina-demo';
const scheduleName = 'demo-report';
/** Maximum wait for running executions at the end of the demo. */
const drainMs = 10_000;
/** Polling interval for scheduled executions; a delay of 100 ms is not noticed. */
const lookMs = 100;

export interface DemoOptions {
  /** Duration of the scheduled executions. */
  readonly forMs: number;
  /** Interval of the schedule. */
  readonly everyMs: number;
  /** The folder for a database and packages without a place of their own; default `./.cloacina-demo`. */
  readonly folder?: string;
  readonly database?: string;
  readonly registry?: string;
  /** Receives each line without its line end. */
  readonly out: (line: string) => void;
  /** One JSON event per line instead of text. */
  readonly json: boolean;
  /** Ends the demo early and cleanly. */
  readonly signal: AbortSignal;
}

interface Demo extends DemoOptions {
  readonly story: Story;
  readonly database: string;
  readonly registry: string;
  /** Absolute paths for the text output. */
  readonly databasePath: string;
  readonly packagesPath: string;
}

/**
 * Packs, registers, loads, executes and schedules the example of `examples/registry-execution-demo`, and reports each
 * step. A second call with the same places continues with them. Resolves when `forMs` have passed or the signal fired,
 * with the schedule paused and the runner closed. Throws the errors of these steps, such as ExecutionFailedError.
 */
export async function runDemo(options: DemoOptions): Promise<void> {
  const demo = openDemo(options);
  // refused before any change
  scheduleRule(intervalRule(demo.everyMs), null);
  const workflow = await publish(demo);
  if (!demo.signal.aborted) await execute(demo, workflow);
  demo.story.step('Done');
  const { databasePath: database, packagesPath: packages } = demo;
  demo.story.tell('stopped', { database, packages }, [
    `database: ${database}`,
    `packages: ${packages}`,
    'the next demo continues with both; to list the executions:',
    lookText(demo.database),
  ]);
}

/** The URL of a server may contain a password, so it is not printed. */
function lookText(database: string): string {
  if (database.startsWith('sqlite:')) return `cloacina execution list --database "${database}"`;
  return 'cloacina execution list (CLOACINA_DATABASE names the database)';
}

function openDemo(options: DemoOptions): Demo {
  const folder = resolve(options.folder ?? demoFolder);
  const database = options.database ?? `sqlite:${join(folder, 'demo.db')}`;
  const registry = options.registry ?? `file:${join(folder, 'packages')}`;
  const databasePath = databasePlace(database);
  if (databasePath === ':memory:') {
    throw new OptionInvalidError('database', 'the demo opens its database twice, so the database must be a file');
  }
  const story = new Story(options.out, options.json, () => systemClock.now());
  const packagesPath = fileURLToPath(openStorage(registry).url);
  return { ...options, story, database, registry, databasePath, packagesPath };
}

/** Releases the package; this needs no runner. */
async function publish({ story, database, registry, packagesPath }: Demo): Promise<WorkflowEntry> {
  story.step('Build the package');
  const startedAt = performance.now();
  const packed = await buildDemoPackage();
  const { name, version } = packed.manifest.package;
  const bytes = packed.bytes.length;
  const ms = Math.round(performance.now() - startedAt);
  story.tell('built', { name, version, bytes, digest: packed.digest, ms }, [
    `package built: ${name} v${version}, ${bytes} bytes, in ${formatMs(ms)}`,
    packed.digest,
  ]);

  story.step('Register it');
  await using client = await Client.open(database, { registry, actor: 'demo' });
  story.tell('storage', { packages: packagesPath }, [`storage directory: ${packagesPath}`]);
  const registered = await register(client, packed.bytes);
  story.tell(registered.created ? 'registered' : 'exists', { ...registered, name, version }, [
    registered.created
      ? `registered: ${name} v${version}, id ${registered.id}`
      : `Package already exists: ${name} v${version} - continuing with existing package`,
  ]);

  story.step('Workflows available');
  const workflows = await client.workflows.list();
  const items = workflows.map((each) => ({
    name: each.name,
    package: each.package,
    version: each.version,
    tasks: each.spec.tasks.map((task) => task.name),
  }));
  story.tell(
    'workflows',
    { items },
    items.map((each) => {
      const from = each.package === null ? 'embedded' : `${each.package} v${each.version}`;
      return `${each.name} (${from}): ${each.tasks.join(' -> ')}`;
    }),
  );
  return await client.workflows.get(demoWorkflow);
}

async function register(
  client: Client,
  bytes: Uint8Array,
): Promise<{ readonly id: string; readonly created: boolean }> {
  try {
    const { id, created } = await client.registry.register(bytes);
    return { id, created };
  } catch (error) {
    // packed by another version of Cloacina or changed by hand: the registered version is used
    if (!(error instanceof PackageExistsError)) throw error;
    const { id } = await client.registry.get(error.packageName, error.version);
    return { id, created: false };
  }
}

/** The package of the demo uses no network, so a Node that cannot close it is no news here. */
const demoLogger: Logger = {
  ...stderrLogger,
  warn: (data, message) => (message === openNetworkText ? undefined : stderrLogger.warn(data, message)),
};

/** Runs the workflow, first once and then on a schedule. */
async function execute(demo: Demo, workflow: WorkflowEntry): Promise<void> {
  const { story, signal } = demo;
  story.step('Start a runner');
  const loading = new Loading(workflow);
  const openedAt = systemClock.now();
  const startedAt = performance.now();
  const runner = await Runner.open(demo.database, {
    registry: demo.registry,
    name: 'demo',
    actor: 'demo',
    logger: demoLogger,
    onPackage: loading.onPackage,
  });
  try {
    const ms = Math.round(performance.now() - startedAt);
    story.tell('runner', { runner: runner.id, ms }, [`runner started in ${formatMs(ms)}, id ${runner.id}`]);
    const loaded = await unlessAborted(loading.done, signal);
    if (loaded === undefined) return;
    const { name, version } = loaded;
    story.tell('loaded', { name, version, ms: loaded.ms }, [
      `package loaded: ${name} v${version} in ${formatMs(loaded.ms)}`,
    ]);
    await executeOnce(demo, runner);
    if (!signal.aborted) await executeOnSchedule(demo, runner, openedAt);
  } finally {
    await runner.close({ drain: drainMs });
  }
}

/** Resolves with the event once the version is loaded; rejects if it did not load. */
class Loading {
  readonly #wanted: WorkflowEntry;
  readonly #done = Promise.withResolvers<PackageEvent & { readonly event: 'package.loaded' }>();

  constructor(wanted: WorkflowEntry) {
    this.#wanted = wanted;
    // the demo may have stopped waiting
    this.#done.promise.catch(() => undefined);
  }

  get done(): Promise<PackageEvent & { readonly event: 'package.loaded' }> {
    return this.#done.promise;
  }

  readonly onPackage = (event: PackageEvent): void => {
    if (event.name !== this.#wanted.package || event.version !== this.#wanted.version) return;
    if (event.event === 'package.loaded') this.#done.resolve(event);
    if (event.event === 'package.failed') {
      this.#done.reject(new CloacinaError(event.code, event.message));
    }
  };
}

async function executeOnce({ story, signal }: Demo, runner: Runner): Promise<void> {
  story.step('Execute the workflow');
  const started = await runner.start(demoWorkflow);
  story.tell('started', { executionId: started.id }, [`execution ${started.id}`]);
  const result = await unlessAborted(started.result(), signal);
  if (result === undefined) return;
  const { createdAt, endedAt } = await runner.executions.get(started.id);
  const ms = (endedAt ?? createdAt) - createdAt;
  const report = readReport(result.outputs);
  story.tell('executed', { executionId: started.id, status: 'completed', ms, report }, [
    ...(report === null ? [`output: ${JSON.stringify(result.output)}`] : reportLines(report)),
    `status completed, in ${formatMs(ms)}`,
  ]);
}

async function executeOnSchedule(demo: Demo, runner: Runner, openedAt: number): Promise<void> {
  const { story, signal, forMs } = demo;
  story.step('Schedule it');
  await schedule(demo, runner);

  const until = systemClock.now() + forMs;
  const end = timeOfDay(Math.ceil(until / 1000) * 1000);
  story.step(`Scheduled executions for ${formatMs(forMs)}, until ${end} UTC (press Ctrl-C to stop earlier)`);
  const runs = new ScheduledRuns(runner, scheduleName, story, openedAt);
  while (systemClock.now() < until && !signal.aborted) {
    await runs.look();
    await pass(Math.min(lookMs, until - systemClock.now()), signal);
  }
  await runner.schedules.pause(scheduleName);
  const patience = AbortSignal.timeout(drainMs);
  while ((await runs.look()) > 0 && !patience.aborted) await pass(lookMs, patience);
  story.tell('paused', { name: scheduleName }, [`schedule ${scheduleName} paused; the next demo resumes it`]);

  story.step('Statistics of the last hour');
  const since = new Date(systemClock.now() - hourMs);
  const { total, completed, failed, skipped, missed, successRate } = await runner.schedules.stats({ since });
  const counts = { total, completed, failed, skipped, missed, successRate };
  const rate = successRate === null ? 'n/a (nothing has finished)' : `${(successRate * 100).toFixed(1)} %`;
  const unstarted = skipped + missed > 0 ? [`slots without an execution: skipped ${skipped}, missed ${missed}`] : [];
  story.tell('statistics', { since: since.toISOString(), ...counts }, [
    `scheduled executions: total ${total}, successful ${completed}, failed ${failed}, success rate ${rate}`,
    ...unstarted,
  ]);
}

/** Adds the schedule, or updates and resumes an existing one. */
async function schedule({ story, everyMs }: Demo, runner: Runner): Promise<void> {
  const { schedules } = runner;
  const rule = intervalRule(everyMs);
  const options = { workflow: demoWorkflow, timezone: 'UTC', ...rule };
  const text = rule.cron === undefined ? `every ${formatMs(everyMs)}` : `${rule.cron} UTC`;
  let created = false;
  try {
    ({ created } = await schedules.add(scheduleName, options));
  } catch (error) {
    if (!(error instanceof ScheduleExistsError)) throw error;
    await schedules.update(scheduleName, options);
  }
  const { id, next } = created ? await schedules.get(scheduleName) : await schedules.resume(scheduleName);
  const first = next === null ? 'no next slot' : `next at ${timeOfDay(next)} UTC`;
  const what = created ? `schedule registered: ${text}` : `schedule exists, resumed: ${text}`;
  story.tell('schedule', { id, name: scheduleName, created, ...rule, timezone: 'UTC', next: isoOrNull(next) }, [
    `${what}, ${first}`,
    `name ${scheduleName}, id ${id}`,
  ]);
}

/** Waits; an abort ends the wait early. */
async function pass(ms: number, signal: AbortSignal): Promise<void> {
  await unlessAborted(delay(systemClock, ms), signal);
}

/** Resolves with the result of a promise, or undefined when the signal has fired. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const aborted = Promise.withResolvers<undefined>();
  const onAbort = (): void => aborted.resolve(undefined);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function isoOrNull(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}

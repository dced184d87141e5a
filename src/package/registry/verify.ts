import { CloacinaError, DigestMismatchError } from '../../core/error.ts';
import { everyChannel, everyLiveWorkflow } from '../../store/registry/channels.ts';
import { everyCondition } from '../../store/registry/conditions.ts';
import { registryHead, storedEvents } from '../../store/registry/log.ts';
import type { LogHead, StoredEvent } from '../../store/registry/log.ts';
import { everyVersion, manifestsOf, workflowsOf } from '../../store/registry/versions.ts';
import type { PackageRecord } from '../../store/registry/versions.ts';
import type { Script } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import type { PackageStorage } from '../storage/storage.ts';
import { liveChannel } from './commands.ts';
import { Replay } from './replay.ts';
import type { RegistryProblem, Tables } from './replay.ts';

export interface Verification {
  /** Events and stored files that were checked. */
  readonly events: number;
  readonly packages: number;
  readonly problems: readonly RegistryProblem[];
}

/** Events read in one transaction. */
const pageSize = 1000;

/**
 * Checks the log's chain, the tables against what the log says happened, and every stored file, of all tenants; `noted`
 * is a head that the log had before.
 */
export async function verifyRegistry(
  store: Scripts,
  storage: PackageStorage,
  noted: LogHead | null,
): Promise<Verification> {
  const replay = new Replay(noted);
  for (;;) {
    const page = await store.read(() => readPage(replay.last));
    for (const event of page.events) replay.take(event);
    if (page.tables === null) continue;
    replay.compare(page.tables);
    const problems = [...replay.problems];
    const living = page.tables.packages.filter(({ status }) => status !== 'deleted');
    const files = [...new Map(living.map((record) => [record.digest, record])).values()];
    for (const record of files) problems.push(...(await fileProblems(store, storage, record)));
    problems.push(...(await nameProblems(store, page.tables)));
    return { events: replay.last, packages: files.length, problems };
  }
}

/** The last page comes with the tables, in one snapshot: what happens meanwhile is no difference. */
function* readPage(after: number): Script<{ events: readonly StoredEvent[]; tables: Tables | null }> {
  const events = yield* storedEvents(after, pageSize);
  if (events.length === pageSize) return { events, tables: null };
  const tables = {
    head: yield* registryHead(),
    packages: yield* everyVersion(),
    channels: yield* everyChannel(),
    liveNames: yield* everyLiveWorkflow(),
    conditions: yield* everyCondition(),
  };
  return { events, tables };
}

async function fileProblems(
  store: Scripts,
  storage: PackageStorage,
  record: PackageRecord,
): Promise<RegistryProblem[]> {
  const what = `${record.name} v${record.version}`;
  try {
    const { readArchive } = await import('../archive/archive.ts');
    const { manifest } = await readArchive(await storage.get(record.digest));
    const text = JSON.stringify(manifest);
    const differs = (await store.read(() => manifestsOf(record.digest))).some((stored) => stored !== text);
    return differs ? [{ code: 'ROW_DIFFERS', what, message: 'the stored manifest is not the one in its file' }] : [];
  } catch (error) {
    if (error instanceof DigestMismatchError) return [{ code: 'DIGEST_MISMATCH', what, message: error.message }];
    if (error instanceof CloacinaError && error.code === 'PACKAGE_NOT_FOUND') {
      return [{ code: 'BYTES_MISSING', what, message: error.message }];
    }
    throw error;
  }
}

/** Compares the names under which workflows are found with the manifests of the live versions. */
async function nameProblems(store: Scripts, { channels, liveNames }: Tables): Promise<RegistryProblem[]> {
  const found = Map.groupBy(liveNames, (row) => JSON.stringify([row.tenant, row.package]));
  const problems: RegistryProblem[] = [];
  for (const { tenant, package: name, channel, version, digest } of channels) {
    if (channel !== liveChannel) continue;
    const key = JSON.stringify([tenant, name]);
    const listed = (found.get(key) ?? []).map(({ workflow }) => workflow).toSorted();
    found.delete(key);
    const offered = await workflowNames(store, digest);
    if (offered !== null && JSON.stringify(listed) === JSON.stringify(offered)) continue;
    const said = offered === null ? 'its manifest is damaged' : `v${version} has ${offered.join(', ')}`;
    const message = `the workflows found by name are ${listed.join(', ') || 'none'}; ${said}`;
    problems.push({ code: 'ROW_DIFFERS', what: `channel ${channel} of ${name}`, message });
  }
  for (const key of found.keys()) {
    problems.push({
      code: 'ROW_DIFFERS',
      what: key,
      message: 'workflows are found by name and no channel offers them',
    });
  }
  return problems;
}

async function workflowNames(store: Scripts, digest: string): Promise<readonly string[] | null> {
  try {
    const specs = await store.read(() => workflowsOf(digest));
    return specs.map(({ name }) => name).toSorted();
  } catch (error) {
    if (error instanceof CloacinaError && error.code === 'ROW_DAMAGED') return null;
    throw error;
  }
}

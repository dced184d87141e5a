import { beginCollecting, collectableBytes, endCollecting } from '../../store/registry/stored-bytes.ts';
import { sweepConditions } from '../../store/registry/conditions.ts';
import { versionsOf } from '../../store/registry/versions.ts';
import type { Script, Tx } from '../../store/script.ts';
import type { Scripts } from '../../store/store.ts';
import { log } from './commands.ts';
import type { Acting } from './commands.ts';
import type { PackageStorage } from '../storage/storage.ts';

/** Bytes that were deleted, or would be; name and version are null for what no version ever owned. */
export interface Collected {
  readonly digest: string;
  readonly name: string | null;
  readonly version: string | null;
}

/** Runs an act as a transaction that ends with its events. */
export type RunAct = (script: (acting: Acting) => Script<void>) => Promise<void>;

const dayMs = 86_400_000;

/** Deletes bytes that nothing needs any more; see `Registry.gc`. */
export async function collectGarbage(
  store: Scripts,
  storage: PackageStorage,
  act: RunAct,
  options: { readonly graceMs?: number; readonly dryRun?: boolean },
): Promise<readonly Collected[]> {
  const before = ({ now }: Tx): number => now - (options.graceMs ?? dayMs);
  const found = await store.read(function* (tx) {
    const list: Collected[] = [];
    for (const digest of yield* collectableBytes(before(tx), null)) {
      const [owner] = yield* versionsOf(digest);
      list.push({ digest, name: owner?.name ?? null, version: owner?.version ?? null });
    }
    return list;
  });
  if (options.dryRun === true) return found;
  const collected: Collected[] = [];
  for (const bytes of found) {
    const { digest, name, version } = bytes;
    const begun = await store.write((tx) => beginCollecting(tx, digest, before(tx)));
    if (!begun) continue;
    await storage.delete(digest);
    await act(function* (acting) {
      yield* endCollecting(digest);
      log(acting, 'collect', { package: name, version, before: { digest } });
    });
    collected.push(bytes);
  }
  await store.write(() => sweepConditions());
  return collected;
}

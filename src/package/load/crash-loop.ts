import type { TaskCall } from '../../engine/workflow-code.ts';
import { forgetCrashes, recordCrash } from '../../store/registry/crashes.ts';
import type { CrashRecord } from '../../store/registry/crashes.ts';
import type { Script } from '../../store/script.ts';
import type { IsolateExit } from '../isolate/isolate.ts';

/**
 * This number of different executions of a tenant, each ending a process of the version within the time below, is a crash
 * loop. The database counts, because the processes that see the crashes may be different runners.
 */
const crashLimit = 3;
const windowMs = 5 * 60_000;

/** Exit reasons that the code is to blame for; `abandoned` ends a process for its task alone. */
const crashReasons: ReadonlySet<IsolateExit['reason']> = new Set([
  'exited',
  'out_of_memory',
  'stalled',
  'broke_protocol',
]);

/**
 * The execution that the end of a process counts against; null if it counts against none. Of several executions in the
 * process each runs again alone, and is counted then. A call that `runsOnce` does not: one of those executions stands for
 * the whole death, because the others may be innocent.
 */
export function blamedExecution(exit: IsolateExit, runsOnce: (call: TaskCall) => boolean): string | null {
  if (!crashReasons.has(exit.reason)) return null;
  const [only, ...others] = new Set(exit.calls.map((call) => call.executionId));
  if (only === undefined || others.length === 0) return only ?? null;
  const once = exit.calls.filter(runsOnce).map((call) => call.executionId);
  return once.toSorted()[0] ?? null;
}

/** Records a crash; returns true if it completes a crash loop. The next one then begins anew. */
export function* isCrashLoop(crash: CrashRecord): Script<boolean> {
  // one poisonous input ends only its own execution, however often, and counts once
  if ((yield* recordCrash(crash, windowMs)) < crashLimit) return false;
  yield* forgetCrashes(crash.tenant, crash.digest);
  return true;
}

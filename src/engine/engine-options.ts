import type { Renewal, Store } from '../store/store.ts';
import type { LoadedWorkflow } from './catalog.ts';
import type { Clock } from './clock.ts';
import type { RunnerEvent, TaskProgress } from './hooks.ts';
import type { HostIdentity } from './liveness/host-identity.ts';
import type { EndedExecution } from './execution/ending.ts';
import type { Logger } from './logger.ts';
import type { ResolvedWorkflow } from './client/start.ts';

/** The dependencies and settings of an engine; durations in ms. */
export interface EngineOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly name: string;
  /** Maximum number of running task functions. */
  readonly concurrency: number;
  /** Embedded workflows, which `embed` brings in. The row of the runner names them from the beginning. */
  readonly embedded: readonly LoadedWorkflow[];
  /** The queues whose tasks run here; default `default` alone. */
  readonly queues?: readonly string[];
  /** Interval of checks for commits of other processes, ms; default 25. */
  readonly pollMs?: number;
  /** Maximum number of owned executions. */
  readonly maxExecutions: number;
  /** Maximum number of levels of children below a root. */
  readonly maxChildDepth: number;
  /** Maximum number of open descendants of one root. */
  readonly maxOpenChildren: number;
  readonly leaseMs: number;
  /** Maximum silence of a living process of this host. */
  readonly stallMs: number;
  readonly graceMs: number;
  readonly maxPayload: number;
  /** Items of a map that one commit writes; default 1,000. A simulation writes fewer. */
  readonly itemsPerCommit?: number;
  /** If true, the engine takes only executions that it started itself, and their children. */
  readonly ownOnly: boolean;
  readonly random: () => number;
  /** The identity of this process; default as reported by the system. */
  readonly identity?: HostIdentity;
  /** If true, a thread renews the lease, if the database supports that; not with a user's clock. Default false. */
  readonly keepsFromThread?: boolean;
  /** Called after each renewal of the lease, with the news of the database. */
  readonly onRenewed?: (renewal: Renewal) => void;
  /** If true, an open runner keeps its process alive; default true. */
  readonly keepAlive?: boolean;
  readonly onEvent: ((event: RunnerEvent) => unknown) | null;
  readonly onProgress: (progress: TaskProgress) => unknown;
  readonly onEnded: (id: string, ended: EndedExecution) => void;
  /** Called after a commit for an execution owned here. */
  readonly onCommitted: () => void;
  /** Called after a commit of another process; `beyond`: the registry or schedules may have changed, too. */
  readonly onChanged: (beyond: boolean) => void;
  /** Time that ended executions are kept if their workflow sets none; null: forever. */
  readonly retentionMs: number | null;
  /** Resolves a workflow's name for a tenant. */
  readonly resolve: (tenant: string, name: string) => Promise<ResolvedWorkflow>;
  /** Called when an execution was started here whose build is not loaded. */
  readonly onBuildWanted: () => void;
}

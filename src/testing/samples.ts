import { newId } from '../engine/id.ts';
import type { Effects, ExecutionRelease, NewExecution, TaskState, Transition } from '../store/transition.ts';
import type { ExecutionFilter, RunnerRecord } from '../store/store.ts';

/** A new execution with the fields that matter to a test. */
export function sampleExecution(change: Partial<NewExecution> = {}): NewExecution {
  const id = change.id ?? newId(1_000_000);
  return {
    id,
    tenant: 'default',
    workflow: 'w',
    pin: null,
    buildId: 'embedded/w/1',
    priority: 0,
    createdAt: 1_000_000,
    owned: false,
    startAt: null,
    input: '{"n":1}',
    given: null,
    inputParsed: true,
    tags: null,
    idempotencyKey: null,
    inputHash: null,
    limitKey: null,
    pinBy: 'channel',
    retention: null,
    rootId: id,
    depth: 0,
    parent: null,
    schedule: null,
    ...change,
  };
}

/** Effects with only the given ones. */
export function sampleEffects(change: Partial<Effects> = {}): Effects {
  return {
    messagesDone: [],
    children: [],
    cancelChildren: [],
    itemsCancelled: [],
    itemsDropped: [],
    offers: [],
    offersWithdrawn: [],
    offersEnded: [],
    ...change,
  };
}

/** A transition that makes only the given changes. */
export function sampleTransition(id: string, change: Partial<Transition> = {}): Transition {
  return {
    id,
    epoch: 1,
    create: null,
    tasks: [],
    steps: [],
    logs: [],
    events: [],
    progressed: false,
    parsedInput: null,
    loadAttempts: null,
    inboxAcked: null,
    effects: null,
    release: null,
    ...change,
  };
}

export function sampleTaskState(task: string, change: Partial<TaskState> = {}): TaskState {
  return {
    task,
    item: -1,
    status: 'running',
    attempt: 1,
    chargedAttempts: 0,
    epoch: 1,
    startedAt: 1_000_001,
    endedAt: null,
    wakeAt: null,
    output: null,
    error: null,
    reason: null,
    cause: null,
    value: null,
    ...change,
  };
}

export function sampleRunner(id: string, change: Partial<RunnerRecord> = {}): RunnerRecord {
  return {
    id,
    name: 'test',
    host: 'here',
    pid: 1,
    pidStarted: '1',
    leaseUntil: 2_000_000,
    dead: false,
    queues: ['default'],
    slots: 0,
    buildIds: [],
    ...change,
  };
}

export function sampleRelease(change: Partial<ExecutionRelease> = {}): ExecutionRelease {
  return {
    status: 'completed',
    reason: null,
    wakeAt: null,
    endedAt: 1_000_002,
    output: '5',
    error: null,
    errorTask: null,
    freesLimit: false,
    parent: null,
    inboxSeen: 0,
    events: [],
    ...change,
  };
}

/** Lists all executions of a tenant, up to a maximum. */
export function sampleFilter(change: Partial<ExecutionFilter> = {}): ExecutionFilter {
  return {
    tenant: 'default',
    workflow: null,
    package: undefined,
    status: null,
    since: null,
    parent: null,
    tags: {},
    after: null,
    limit: 1000,
    ...change,
  };
}

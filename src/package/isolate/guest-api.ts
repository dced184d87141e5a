/** The exports of `cloacina` inside a package: definitions of workflows, and nothing that runs them. */
export { errorTable } from '../../core/error-table.ts';
export * from '../../core/error.ts';
export { eventTypes } from '../../core/execution/event.ts';
export { executionStatuses } from '../../core/execution/states.ts';
export { settled, unchecked, workflow } from '../../core/definition/workflow.ts';
export { ExecutionFailedError } from '../../engine/client/execution-failed.ts';

const absence = 'is not available inside a package: the runner that loaded the package runs its workflows';

/** Stands in for `Client`, so that sources which also run their workflows elsewhere can be loaded. */
export class Client {
  constructor() {
    throw new Error(`Client ${absence}`);
  }
  static open(): never {
    throw new Error(`Client.open ${absence}`);
  }
  static connect(): never {
    throw new Error(`Client.connect ${absence}`);
  }
}

/** Stands in for `Runner`, for the same reason. */
export class Runner {
  constructor() {
    throw new Error(`Runner ${absence}`);
  }
  static open(): never {
    throw new Error(`Runner.open ${absence}`);
  }
}

/** What `import ... from 'cloacina'` gives inside a package: how workflows are defined, and nothing that runs them. */
export { errorTable } from '../../core/error-table.ts';
export * from '../../core/error.ts';
export { eventTypes } from '../../core/event.ts';
export { executionStatuses } from '../../core/execution.ts';
export { settled, unchecked, workflow } from '../../core/definition/workflow.ts';
export { ExecutionFailedError } from '../../engine/client/execution-failed.ts';

const absence = 'is not available inside a package: the runner that loaded the package runs its workflows';

/** In place of `Client`, so that sources which also run their workflows elsewhere load all the same. */
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

/** In place of `Runner`, as `Client` above. */
export class Runner {
  constructor() {
    throw new Error(`Runner ${absence}`);
  }
  static open(): never {
    throw new Error(`Runner.open ${absence}`);
  }
}

import { isTaskEnded } from '../../core/execution/states.ts';
import { eventFields } from '../../core/task-error.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { NewEvent, Transition } from '../../store/transition.ts';
import type { LiveState } from './live-state.ts';
import { ended } from './phase.ts';
import { newTaskRun } from './task-run.ts';
import type { TaskRun } from './task-run.ts';
import type { Tasks } from './tasks.ts';

/**
 * Ends every task of an execution that fails as a whole. `unwritten`: tasks and items with a change that will never be
 * stored. They fail, like a task that has ended by its own state and not by the plan, because of the exception.
 */
export function failWhole(
  state: LiveState,
  tasks: Tasks,
  {
    error,
    now,
    unwritten,
  }: { readonly error: TaskError; readonly now: number; readonly unwritten: readonly TaskRun[] },
): void {
  tasks.stopAll('cancel');
  tasks.forget();
  const { progress, graph } = state;
  const fail = (run: TaskRun): void => {
    state.move(run, ended);
    Object.assign(run, { status: 'failed', output: null, error, endedAt: now, wakeAt: null });
    state.draft.task(run);
  };
  const halfDone = state.runs.filter((run): run is TaskRun => {
    return run !== undefined && isTaskEnded(run.status) && !isTaskEnded(progress.status[run.index]!);
  });
  // the items of a map that has not begun are removed with it
  const items = unwritten.filter(({ item, index }) => item !== -1 && state.maps?.has(index) === true);
  for (const index of new Set([...unwritten, ...halfDone].map((run) => run.index))) {
    tasks.closeItems(index);
    fail((state.runs[index] ??= newTaskRun(index, graph.spec.tasks[index]!)));
    if (!isTaskEnded(progress.status[index]!)) progress.open--;
    progress.status[index] = 'failed';
  }
  for (const item of items) fail(item);
  tasks.closeOpen('cancelled');
}

/** The transition of a failure, with another error. */
export function withError(transition: Transition, error: TaskError, instead: TaskError): Transition {
  const [from, to] = [JSON.stringify(error), JSON.stringify(instead)];
  const replaced = (text: string | null): string | null => text?.replaceAll(from, () => to) ?? null;
  const [fields, others] = [error, instead].map((each) => JSON.stringify(eventFields(each)).slice(1, -1));
  const replacedIn = (events: readonly NewEvent[]): NewEvent[] =>
    events.map((event) => {
      const data = event.data?.replaceAll(fields!, () => others!) ?? null;
      return { ...event, data };
    });
  const { tasks, events, release } = transition;
  return {
    ...transition,
    tasks: tasks.map((task) => Object.assign({}, task, { error: replaced(task.error) })),
    events: replacedIn(events),
    release: release && { ...release, error: replaced(release.error), events: replacedIn(release.events) },
  };
}

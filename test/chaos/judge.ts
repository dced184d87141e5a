import assert from 'node:assert/strict';
import type { Control } from './control.ts';
import { leaseMs } from './member.ts';
import { longestMs } from './storm.ts';
import type { Death, Takeover } from './storm.ts';
import { limit, width } from './workflows.ts';

/** Checks the rules of durability.md on a database after a storm. */
export async function judge(control: Control, acknowledged: ReadonlyMap<string, string>): Promise<void> {
  await endsOnce(control, acknowledged);
  await leavesNothing(control);
  await eventsAreInOrder(control);
  await resultsStand(control);
  await limitsHold(control);
  await onceIsOnce(control);
}

/** The fence: a runner writes nothing after it is declared dead, whatever it had sent before. */
export async function judgeDeaths(control: Control, deaths: readonly Death[], lateCommits: number): Promise<void> {
  assert.ok(lateCommits > 0, 'a commit of a dead runner has arrived');
  for (const { runner, written } of deaths) {
    const { events, batch } = await control.written(runner);
    const late = `runner ${runner} wrote after it was declared dead`;
    assert.equal(events, written.events, `${late}: ${events - written.events} events`);
    assert.ok(batch <= written.batch, `${late}: batch ${batch}`);
  }
}

export function judgeTakeovers(takeovers: readonly Takeover[]): void {
  for (const takeover of takeovers) {
    assert.ok(takeover.ms < longestMs, `its executions waited too long: ${JSON.stringify(takeover)}`);
  }
  // adoption that only a lease can trigger takes more than a lease; a single slow one may be due to a busy host
  const atOnce = takeovers.filter(({ seenAtOnce }) => seenAtOnce).map(({ ms }) => ms);
  const median = atOnce.toSorted((a, b) => a - b)[Math.floor(atOnce.length / 2)] ?? 0;
  assert.ok(median < leaseMs, `what a dead neighbour had waited for ${atOnce.join(', ')} ms`);
}

async function endsOnce(control: Control, acknowledged: ReadonlyMap<string, string>): Promise<void> {
  const rows = await control.query<{
    id: string;
    workflow: string;
    status: string;
    error: string | null;
    ends: number;
  }>(
    `select e.id, e.workflow, e.status, e.error, count(v.seq)::int as ends from executions e
     left join events v on v.execution_id = e.id and v.type in ('execution.completed', 'execution.failed', 'execution.cancelled')
     group by e.id`,
  );
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const [id, workflow] of acknowledged)
    assert.equal(byId.get(id)?.workflow, workflow, `acknowledged execution ${id} exists`);
  for (const { id, workflow, status, error, ends } of rows) {
    const isCut =
      workflow === 'once' && status === 'failed' && /TASK_INTERRUPTED|TASK_CRASHED_RUNNER/.test(error ?? '');
    assert.ok(status === 'completed' || isCut, `${workflow} ${id} is ${status}: ${error}`);
    assert.equal(ends, 1, `${workflow} ${id} ended ${ends} times`);
  }
  const kids = await control.query(
    `select p.id from executions p left join executions k on k.parent_id = p.id where p.workflow = 'parent'
     group by p.id having count(k.id) <> 1`,
  );
  assert.deepEqual(kids, [], 'every parent has one child');
}

async function leavesNothing(control: Control): Promise<void> {
  assert.deepEqual(
    await control.query('select id, status, owner from executions where owner is not null'),
    [],
    'nothing is owned',
  );
  assert.deepEqual(
    await control.query('select id, name, dead from runners'),
    [],
    'every runner has closed or was removed',
  );
}

interface EventRow {
  readonly execution_id: string;
  readonly seq: number;
  readonly type: string;
  readonly task: string | null;
  readonly item: number | null;
  readonly runner: string | null;
}

/** Event numbers have no gaps, each task ends once, and only the last owner of the execution writes. */
async function eventsAreInOrder(control: Control): Promise<void> {
  const events = await control.query<EventRow>(
    'select execution_id, seq, type, task, item, runner from events order by execution_id, seq',
  );
  let before: EventRow | undefined;
  let owner: string | null = null;
  let ended = new Set<string>();
  for (const event of events) {
    const shown = JSON.stringify(event);
    if (before?.execution_id !== event.execution_id) {
      before = undefined;
      owner = null;
      ended = new Set();
    }
    assert.equal(event.seq, (before?.seq ?? 0) + 1, `a gap before ${shown}`);
    if (/^execution\.(created|started|adopted|resumed)$/.test(event.type)) owner = event.runner;
    assert.equal(event.runner, owner, `${shown} is of one who had lost the execution to ${owner}`);
    if (/^task\.(completed|failed)$/.test(event.type)) {
      const place = `${event.task} ${event.item}`;
      assert.ok(!ended.has(place), `a task ended twice: ${shown}`);
      ended.add(place);
    }
    before = event;
  }
}

/** Each output names the run that made it, and contains the names of the outputs it was made from. */
async function resultsStand(control: Control): Promise<void> {
  await itemsStand(control);
  const tasks = await control.query<{ execution_id: string; task: string; output: string }>(
    `select t.execution_id, t.task, t.output from task_executions t join executions e on e.id = t.execution_id
     where e.workflow = 'chain'`,
  );
  const runs = new Map(
    (
      await control.query<{ run: string; execution: string; task: string; ended: Date | null }>('select * from runs')
    ).map((row) => [row.run, row]),
  );
  for (const [id, of] of Map.groupBy(tasks, ({ execution_id: execution }) => execution)) {
    const outputs = new Map(of.map(({ task, output }) => [task, JSON.parse(output) as unknown]));
    const first = outputs.get('first');
    const [left, right] = [outputs.get('left'), outputs.get('right')] as readonly (readonly [string, string])[];
    assert.deepEqual(outputs.get('join'), [left, right], `the output of ${id} is that of its tasks`);
    assert.deepEqual(
      [left![0], right![0]],
      [first, first],
      `both tasks have received one result of the first task of ${id}`,
    );
    for (const [task, run] of [
      ['first', first],
      ['left', left![1]],
      ['right', right![1]],
    ] as const) {
      const { execution, task: of_, ended } = runs.get(run as string)!;
      assert.deepEqual([execution, of_, ended !== null], [id, task, true], `run ${String(run)}`);
    }
  }
}

/** Each item of a map has the result of a run of that item, on any runner. */
async function itemsStand(control: Control): Promise<void> {
  const maps = await control.query<{ id: string; output: string }>(
    `select id, output from executions where workflow = 'wide'`,
  );
  const runs = await control.query<{ run: string; execution: string }>(
    `select run, execution from runs where task = 'items' and ended is not null`,
  );
  const of = new Map(runs.map(({ run, execution }) => [run, execution]));
  for (const { id, output } of maps) {
    const names = JSON.parse(output) as readonly string[];
    assert.equal(new Set(names).size, width, `each item of ${id} has its own result`);
    assert.ok(
      names.every((name) => of.get(name) === id),
      `runs of ${id}`,
    );
  }
}

/** From the begin to the end of each run whose result counts, its runner owned the execution. */
async function limitsHold(control: Control): Promise<void> {
  const runs = await control.query<{ began: Date; ended: Date }>(
    `select r.began, r.ended from runs r join task_executions t on t.execution_id = r.execution and t.task = r.task
     join executions e on e.id = r.execution where e.workflow = 'limited' and t.output = to_json(r.run)::text`,
  );
  assert.ok(runs.length > 10, `there was load under the limit: ${runs.length} runs`);
  const changes = runs.flatMap(({ began, ended }) => [
    { at: began.getTime(), by: 1 },
    { at: ended.getTime(), by: -1 },
  ]);
  // an end and a begin in the same millisecond do not overlap
  changes.sort((a, b) => a.at - b.at || a.by - b.by);
  let now = 0;
  for (const { by } of changes) {
    now += by;
    assert.ok(now <= limit, `${now} at once under a limit of ${limit}`);
  }
}

async function onceIsOnce(control: Control): Promise<void> {
  const twice = await control.query(
    `select r.execution from runs r join executions e on e.id = r.execution where e.workflow = 'once'
     group by r.execution having count(*) > 1`,
  );
  assert.deepEqual(twice, [], 'a task with one attempt never ran twice');
}

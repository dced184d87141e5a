import type { Command } from 'commander';
import { oneLine } from '../../core/plain.ts';
import { compileGraph, levels } from '../../core/definition/graph.ts';
import type { TaskSpec, WorkflowSpec } from '../../core/definition/spec.ts';
import type { WorkflowEntry } from '../../engine/client/workflows.ts';
import { act } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { workflowDocument, workflowItem } from '../views.ts';
import { addPackageOptions } from '../arguments.ts';
import { fields, paint, short, table } from '../output.ts';
import { run } from './workflow-run.ts';

/** Workflows: list, show and run them. */
export function addWorkflowCommands(program: Command): void {
  const noun = program.command('workflow').description('list, show and run workflows');
  noun.command('list').description('list workflows').action(act(list));
  noun
    .command('show')
    .description('show a workflow and its task graph')
    .argument('<name>', 'workflow, package/workflow, or package@VERSION/workflow (a version, a digest or a channel)')
    .action(act(show));
  const running = noun
    .command('run')
    .description('start a workflow, run its tasks in this process, and print the result')
    .argument('<name>', 'workflow, package/workflow, or package@VERSION/workflow (a version, a digest or a channel)')
    .option('--input <json>', 'input as JSON, @FILE to read a file, or @- to read stdin (default: {})')
    .option('--detach', 'start the execution and return; a runner runs it')
    .option('--idempotency-key <key>', 'a repeated key with the same input returns the same execution');
  addPackageOptions(running).action(act(run));
}

async function list(cli: Cli): Promise<void> {
  const entries = await cli.client((client) => client.workflows.list());
  cli.output.answer({ items: entries.map(workflowItem) }, () => {
    if (entries.length === 0) return 'No workflows yet: cloacina package register FILE';
    const rows = entries.map(({ name, package: from, version, spec }) => [
      name,
      from ?? 'embedded',
      version ?? '',
      spec.tasks.map((task) => task.name).join(', '),
    ]);
    return table(['WORKFLOW', 'PACKAGE', 'VERSION', 'TASKS'], rows);
  });
}

async function show(cli: Cli, name: string): Promise<void> {
  const entry = await cli.client((client) => client.workflows.get(name));
  cli.output.answer(workflowDocument(entry), () => `${headText(entry)}\n\n${graphText(entry.spec)}`);
}

function headText({ name, package: from, version, spec }: WorkflowEntry): string {
  return fields([
    ['workflow', { text: name, style: 'bold' }],
    ['package', from === null ? 'embedded in a runner' : `${from} v${version}`],
    ['description', spec.description],
    ['input', spec.input === null ? null : short(spec.input, 200)],
    ['returns', spec.output?.task ?? null],
    ['schedules', spec.schedules.map((schedule) => schedule.name).join(', ')],
  ]);
}

/** The graph by levels: every task is below its needs, and its line names them. */
function graphText(spec: WorkflowSpec): string {
  const byName = new Map(spec.tasks.map((task) => [task.name, task]));
  const rows = levels(compileGraph(spec));
  return rows
    .map((names) => names.map((name) => `  ${taskText(byName.get(name)!)}`).join('\n'))
    .join(`\n  ${paint('dim', process.platform === 'win32' ? 'v' : '↓')}\n`);
}

function taskText(task: TaskSpec): string {
  const needs = Object.values(task.needs).map((need) => `${need.task}${need.settled ? ' (settled)' : ''}`);
  const notes = [
    task.kind === 'task' ? '' : task.kind,
    task.when ? 'when' : '',
    needs.length === 0 ? '' : `needs ${[...new Set(needs)].join(', ')}`,
    task.description ?? '',
  ].filter((note) => note !== '');
  return `${oneLine(task.name)}${notes.length === 0 ? '' : paint('dim', oneLine(`  ${notes.join('; ')}`))}`;
}

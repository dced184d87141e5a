import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sampleTask, sampleWorkflow } from '../../testing/sample-package.ts';
import { DefinitionInvalidError } from '../error.ts';
import { compileGraph, fingerprint, levels } from './graph.ts';
import type { NeedSpec, TaskSpec, WorkflowSpec } from './spec.ts';

function specOf(tasks: readonly TaskSpec[], output: WorkflowSpec['output'] = null): WorkflowSpec {
  return { ...sampleWorkflow('w'), tasks, output };
}

function taskWith(name: string, needs: Readonly<Record<string, NeedSpec>>): TaskSpec {
  return { ...sampleTask(name), needs };
}

const plain = (task: string): NeedSpec => ({ task, settled: false });
const settled = (task: string): NeedSpec => ({ task, settled: true });

describe('engine.md, what a graph means: the checks at definition', () => {
  it('a cycle is refused with its path', () => {
    const tasks = [sampleTask('a', ['c']), sampleTask('b', ['a']), sampleTask('c', ['b']), sampleTask('d', ['a'])];
    assert.throws(
      () => compileGraph(specOf(tasks)),
      (error) =>
        error instanceof DefinitionInvalidError &&
        error.code === 'DEFINITION_INVALID' &&
        /cycle: '(\w)' -> '(\w)' -> '(\w)' -> '\1'/.test(error.message) &&
        !error.message.includes(`'d'`),
    );
  });

  it('a task that needs itself is a cycle', () => {
    assert.throws(() => compileGraph(specOf([sampleTask('a', ['a'])])), /'a' -> 'a'/);
  });

  it('a duplicate name is refused by name', () => {
    assert.throws(() => compileGraph(specOf([sampleTask('a'), sampleTask('a')])), /two tasks named 'a'/);
  });

  it('an unknown need is refused with both names', () => {
    assert.throws(() => compileGraph(specOf([sampleTask('a', ['ghost'])])), /'a' needs 'ghost'/);
  });

  it('an output that is no task is refused', () => {
    assert.throws(() => compileGraph(specOf([sampleTask('a')], { task: 'ghost', settled: false })), /returns 'ghost'/);
  });

  it('a chain of 20,000 tasks does not overflow the stack', () => {
    const tasks = Array.from({ length: 20_000 }, (_, i) => sampleTask(`t${i}`, i === 0 ? [] : [`t${i - 1}`]));
    const graph = compileGraph(specOf(tasks.toReversed()));
    assert.equal(graph.needCounts.filter((count) => count === 1).length, 19_999);
  });
});

describe('a compiled graph', () => {
  it('a graph counts a need once, whatever number of aliases name it, and distinguishes plain from settled use', () => {
    const graph = compileGraph(
      specOf([sampleTask('a'), taskWith('b', { x: plain('a'), y: settled('a') }), taskWith('c', { z: settled('a') })]),
    );
    assert.equal(graph.needCounts[1], 1);
    assert.deepEqual(graph.dependents[0], [
      { task: 1, plain: true, settled: true },
      { task: 2, plain: false, settled: true },
    ]);
  });

  it('a graph has levels, and every need is in an earlier level', () => {
    const graph = compileGraph(
      specOf([sampleTask('d', ['b', 'c']), sampleTask('b', ['a']), sampleTask('c', ['a']), sampleTask('a')]),
    );
    assert.deepEqual(levels(graph), [['a'], ['b', 'c'], ['d']]);
  });
});

describe('engine.md, versions: the fingerprint', () => {
  const base = [sampleTask('a'), sampleTask('b', ['a'])];

  it('the fingerprint does not change with timeouts, retries, queues, descriptions, aliases or the order of definition', () => {
    const changed: TaskSpec[] = [
      { ...taskWith('b', { other: plain('a') }), timeout: 5, retry: null, queue: 'big', description: 'text' },
      sampleTask('a'),
    ];
    assert.equal(fingerprint(base), fingerprint(changed));
  });

  it('the fingerprint changes with a name, a kind, a need, or the settled flag of a need', () => {
    const others: TaskSpec[][] = [
      [sampleTask('a'), sampleTask('c', ['a'])],
      [{ ...sampleTask('a'), kind: 'sleep' }, sampleTask('b', ['a'])],
      [sampleTask('a'), sampleTask('b')],
      [sampleTask('a'), taskWith('b', { a: settled('a') })],
    ];
    const all = [base, ...others].map(fingerprint);
    assert.equal(new Set(all).size, all.length);
  });

  it('the fingerprint distinguishes names that look alike only when joined', () => {
    const quoted = fingerprint([sampleTask('a?'), taskWith('b', { x: plain('a?') }), sampleTask('a')]);
    const flagged = fingerprint([sampleTask('a?'), taskWith('b', { x: settled('a') }), sampleTask('a')]);
    assert.notEqual(quoted, flagged);
  });
});

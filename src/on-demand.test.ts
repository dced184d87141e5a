import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onDemand } from './on-demand.ts';

class Counter {
  #count = 0;

  async add(amount: number): Promise<number> {
    this.#count += amount;
    return this.#count;
  }
}

test('the first call loads the object, and later calls use the same one', async () => {
  let loads = 0;
  const counter = onDemand<Counter>({ add: true }, async () => {
    loads++;
    return new Counter();
  });
  assert.equal(loads, 0);
  assert.deepEqual(await Promise.all([counter.add(1), counter.add(2)]), [1, 3]);
  assert.equal(await counter.add(3), 6);
  assert.equal(loads, 1);
});

test('a load that failed rejects its calls, and the next call loads again', async () => {
  let loads = 0;
  const counter = onDemand<Counter>({ add: true }, async () => {
    loads++;
    if (loads === 1) throw new Error('the disk is away');
    return new Counter();
  });
  await assert.rejects(counter.add(1), /the disk is away/);
  assert.equal(await counter.add(2), 2);
});

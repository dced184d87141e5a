import { randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { chaos } from './chaos/chaos.ts';

const minutes = 10;

describe('durability.md: four runners on PostgreSQL in a storm', () => {
  it(`every acknowledged execution ends once, limits hold and nothing is left behind (${minutes} min)`, async (t) => {
    await chaos(t, randomInt(1_000_000), minutes * 60);
  });
});

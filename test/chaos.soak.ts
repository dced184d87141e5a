import { randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { chaos } from './chaos/chaos.ts';

const minutes = 10;

describe('issue C: four runners on PostgreSQL in a storm', () => {
  it(`every acknowledged execution ends once, limits hold, nothing is left (${minutes} min)`, async (t) => {
    await chaos(t, randomInt(1_000_000), minutes * 60);
  });
});

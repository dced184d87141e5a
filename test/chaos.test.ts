import { randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { chaos } from './chaos/chaos.ts';

const seconds = 60;

describe('issue C: four runners on PostgreSQL in a storm', () => {
  it(`every acknowledged execution ends once, limits hold, nothing is left (${seconds} s)`, async (t) => {
    await chaos(t, randomInt(1_000_000), seconds);
  });
});

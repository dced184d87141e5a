import { after, describe, it } from 'node:test';
import { offerSuite } from '../../testing/suites/offer-suite.ts';
import { pinsSuite } from '../../testing/suites/pins-suite.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { storeEffectsSuite } from '../../testing/suites/store-effects-suite.ts';
import { storeSuite } from '../../testing/suites/store-suite.ts';
import { openStore } from '../open.ts';
import type { Store } from '../store.ts';

const server = await testPostgres();
let schemas = 0;

if (typeof server === 'string') {
  describe('store suite: PostgreSQL', () => {
    it('the tests have a server', (t) => t.skip(server));
  });
} else {
  after(() => server.stop());
  const open = (): Promise<Store> => openStore(`${server.url}?schema=suite_${process.pid}_${schemas++}`);
  storeSuite('PostgreSQL', open);
  offerSuite('PostgreSQL', open);
  storeEffectsSuite('PostgreSQL', open, { writesOnce: true });
  pinsSuite('PostgreSQL', open);
}

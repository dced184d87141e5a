import { openCloacina } from './cloacina.ts';
import { openDbos } from './dbos.ts';
import { openGraphileWorker } from './graphile-worker.ts';
import { openOpenWorkflow } from './openworkflow.ts';
import type { OpenPeer } from './peer.ts';
import { openPgBoss } from './pg-boss.ts';

export const peers = {
  Cloacina: openCloacina,
  'DBOS Transact': openDbos,
  'graphile-worker': openGraphileWorker,
  'pg-boss': openPgBoss,
  OpenWorkflow: openOpenWorkflow,
} satisfies Record<string, OpenPeer>;

export type PeerName = keyof typeof peers;

/** See README.md. `-- --quick` runs one short round, `-- --readme` writes the table there. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Client } from 'pg';
import { fillIn, machineText } from '../documents.ts';
import { median } from '../measure.ts';
import { durablePostgres } from '../postgres.ts';
import type { Asked, Measured } from './peer-process.ts';
import { peers } from './peers.ts';
import type { PeerName } from './peers.ts';

const quick = process.argv.includes('--quick');
const rounds = quick ? 1 : 3;
const widths = [1, 32, 500];
const asked: Asked = { backlog: quick ? 1000 : 5000, widths, forMs: quick ? 2000 : 5000 };
const names = Object.keys(peers) as PeerName[];
const ours: PeerName = 'Cloacina';

const server = await durablePostgres();
if (typeof server === 'string') throw new Error(server);
try {
  const measured = await measureAll(server.url);
  const text = `${table(measured)}\n\nThe median of ${rounds} rounds. Measured on ${machineText()}.`;
  console.log(text);
  if (process.argv.includes('--readme')) fillIn(new URL('README.md', import.meta.url), 'peers', text);
} finally {
  await server.stop();
}

/** Peers alternate round by round, so other load on the host affects all of them alike. */
async function measureAll(url: string): Promise<ReadonlyMap<PeerName, readonly Measured[]>> {
  const measured = new Map<PeerName, Measured[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [at, name] of names.entries()) {
      const one = await measure(name, await database(url, `round_${round}_${at}`));
      console.error(`${name}: ${JSON.stringify(one)}`);
      measured.get(name)!.push(one);
    }
  }
  return measured;
}

async function database(url: string, name: string): Promise<string> {
  const client = new Client(url);
  await client.connect();
  await client.query(`create database ${name}`);
  await client.query('checkpoint');
  await client.end();
  return Object.assign(new URL(url), { pathname: name }).href;
}

async function measure(name: PeerName, url: string): Promise<Measured> {
  const child = fork(new URL('peer-process.ts', import.meta.url), [name, url]);
  child.send(asked);
  const measured = once(child, 'message') as Promise<[Measured]>;
  const ended = once(child, 'exit').then(() => Promise.reject(new Error(`${name} ended without a result`)));
  const [one] = await Promise.race([measured, ended]);
  ended.catch(() => undefined);
  await once(child, 'exit');
  return one;
}

function table(measured: ReadonlyMap<PeerName, readonly Measured[]>): string {
  const rows = names.map((name) => {
    const cells = widths.map((width) => {
      const rate = (one: Measured): number => one.byWidth[width]!.perSecond;
      const latency = median(measured.get(name)!.map((one) => one.byWidth[width]!.medianMs));
      return `${cell(name, rate)}, median ${latency} ms`;
    });
    return `| ${[name, ...cells, cell(name, (one) => one.backlogPerSecond)].join(' | ')} |`;
  });
  const heads = ['', ...widths.map((width) => `pipelines, ${width} at once`), 'trivial jobs of a backlog'];
  return [`| ${heads.join(' | ')} |`, `| ${heads.map(() => '---').join(' | ')} |`, ...rows].join('\n');

  function cell(name: PeerName, value: (one: Measured) => number): string {
    const own = measured.get(name)!;
    const ratio = median(own.map((one, round) => value(measured.get(ours)![round]!) / value(one)));
    const text = `${Math.round(median(own.map((one) => value(one))))}/s`;
    return name === ours ? text : `${text} (1 : ${ratio.toFixed(1)})`;
  }
}

/** Measures one peer in a separate process: `node peer-process.ts NAME URL`. */
import { rate, rateFor } from '../measure.ts';
import type { Rate } from '../measure.ts';
import { peers } from './peers.ts';
import type { PeerName } from './peers.ts';

export interface Asked {
  /** Trivial jobs. */
  readonly backlog: number;
  readonly widths: readonly number[];
  /** Ms of pipelines for each width. */
  readonly forMs: number;
}

export interface Measured {
  readonly backlogPerSecond: number;
  readonly byWidth: Readonly<Record<number, Rate>>;
}

const [name, url] = process.argv.slice(2) as [PeerName, string];
process.once('message', (asked: Asked) => void measure(asked));

async function measure({ backlog, widths, forMs }: Asked): Promise<void> {
  const peer = await peers[name](url, backlog);
  await rate(64, 32, () => peer.pipeline()); // warm-up
  const byWidth: Record<number, Rate> = {};
  for (const width of widths) byWidth[width] = await rateFor(forMs, width, () => peer.pipeline());
  const measured: Measured = { backlogPerSecond: Math.round((backlog / peer.backlogMs) * 1000), byWidth };
  await peer.close();
  process.send?.(measured, () => process.exit(0));
}

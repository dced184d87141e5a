import { createHash, randomFillSync } from 'node:crypto';
import { isAhead } from '../core/clock-ahead.ts';

const pool = new Uint8Array(8192);
let fill: (bytes: Uint8Array) => void = (bytes) => void randomFillSync(bytes);
let used = pool.length;
let lastMs = 0;
let counter = 0;

/**
 * Returns a UUIDv7 (RFC 9562): 48 bits of epoch ms, then 12 bits that count up within one ms (section 6.2, method 1),
 * then 62 random bits. Ids of one process sort by creation, unless the clock was set back meanwhile.
 */
export function newId(nowMs: number): string {
  if (nowMs > lastMs || isAhead(lastMs, nowMs)) {
    lastMs = nowMs;
    counter = 0;
  } else if (++counter > 0xfff) {
    lastMs++; // more than 4096 in one ms: borrow from the next
    counter = 0;
  }
  if (used + 8 > pool.length) {
    fill(pool);
    used = 0;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const low = hex(used, used + 8);
  const variant = (8 | (pool[used]! & 3)).toString(16);
  used += 8;
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${variant}${low.slice(1, 4)}-${low.slice(4)}`;
}

function hex(from: number, to: number): string {
  let text = '';
  for (let i = from; i < to; i++) text += byteHex[pool[i]!]!;
  return text;
}

const byteHex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Returns a UUIDv7 of a time (epoch ms) and 74 bits of a hash: deterministic for the same time and text. */
export function derivedId(timeMs: number, text: string): string {
  const hash = createHash('sha256').update(text).digest('hex');
  const time = timeMs.toString(16).padStart(12, '0');
  const variant = (8 | (Number.parseInt(hash[3]!, 16) & 3)).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hash.slice(0, 3)}-${variant}${hash.slice(4, 7)}-${hash.slice(7, 19)}`;
}

/** Returns the time (epoch ms) of a UUIDv7. */
export function timeOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** Restarts the sequence with another source of random bytes: a repeated simulation must produce the same ids. */
export function drawIdsFrom(source: (bytes: Uint8Array) => void): void {
  fill = source;
  used = pool.length;
  lastMs = 0;
  counter = 0;
}

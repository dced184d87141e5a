/**
 * Preloaded by processes of the chaos test: with CHAOS_HOST the process reports another host, with CHAOS_AHEAD_MS its
 * system clock is ahead.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const host = process.env['CHAOS_HOST'];
if (host !== undefined) {
  const read = fs.readFileSync;
  const elsewhere = (...args: Parameters<typeof read>): ReturnType<typeof read> =>
    args[0] === '/proc/sys/kernel/random/boot_id' ? host : read(...args);
  fs.readFileSync = elsewhere as typeof read;
  syncBuiltinESMExports();
}

const ahead = Number(process.env['CHAOS_AHEAD_MS'] ?? 0);
if (ahead !== 0) {
  const now = Date.now.bind(Date);
  class Skewed extends Date {
    constructor(...args: readonly []) {
      if (args.length === 0) super(now() + ahead);
      else super(...args);
    }
    static override now(): number {
      return now() + ahead;
    }
  }
  globalThis.Date = Skewed as DateConstructor;
}

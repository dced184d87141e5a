import { isError } from '../foreign/realms.ts';
import { dayMs, hourMs } from '../duration.ts';
import { nearNames } from '../suggest.ts';

/** Since 1900 no zone kept an offset for less than 3.9 days (Freetown, 1939), so a sample every 2 days misses none. */
const sampleMs = 2 * dayMs;
const chunkMs = 8 * sampleMs;
/** Offsets differ by at most 26 h (-12 to +14), so older local times cannot repeat. */
const lookBackMs = sampleMs;
const longestOffsetMs = 16 * hourMs;
const maxChunks = 4096;

/**
 * A stretch of real time in which a zone keeps one offset. Instants are epoch ms; local times are ms "as if UTC"
 * (`instant + offset`). A long stretch may be cut into several.
 */
export interface Segment {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly offset: number;
  /**
   * The latest local time shown before the segment starts: less than `start + offset` if the clock skips, more if it
   * repeats, equal if nothing changes.
   */
  readonly shown: number;
}

/** An IANA time zone as a list of offsets, read from Intl in chunks of 16 days and cached. */
export class Zone {
  readonly name: string;
  readonly #format: Intl.DateTimeFormat;
  readonly #chunks = new Map<number, readonly Segment[]>();
  readonly #fixed: Segment | null;

  constructor(name: string) {
    this.#format = new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset' });
    const known = this.#format.resolvedOptions().timeZone;
    // aliases keep the given name: the canonical one differs between versions of Node
    this.name = known.toLowerCase() === name.toLowerCase() ? known : name;
    this.#fixed = known === 'UTC' ? { start: -Infinity, end: Infinity, offset: 0, shown: -Infinity } : null;
  }

  /** The segment that holds an instant. */
  segmentAt(instant: number): Segment {
    if (this.#fixed !== null) return this.#fixed;
    const index = Math.floor(instant / chunkMs);
    let chunk = this.#chunks.get(index);
    if (chunk === undefined) {
      if (this.#chunks.size >= maxChunks) this.#chunks.clear();
      chunk = this.#readChunk(index);
      this.#chunks.set(index, chunk);
    }
    return chunk.find((segment) => instant < segment.end)!;
  }

  /** Converts a local time to an instant: the first if it occurs twice, the end of the gap if it does not occur. */
  instantOf(local: number): number {
    let segment = this.segmentAt(local - longestOffsetMs);
    while (local >= segment.end + segment.offset) segment = this.segmentAt(segment.end);
    return Math.max(local - segment.offset, segment.start);
  }

  #readChunk(index: number): readonly Segment[] {
    const first = index * chunkMs;
    const end = first + chunkMs;
    let start = first - lookBackMs;
    let offset = this.#offsetAt(start);
    let shown = start + offset;
    const segments: Segment[] = [];
    const add = (until: number): void => {
      const from = Math.max(start, first);
      if (until > from) segments.push({ start: from, end: until, offset, shown: cut(shown, start, from, offset) });
    };
    for (let sample = start + sampleMs; sample <= end; sample += sampleMs) {
      while (this.#offsetAt(sample) !== offset) {
        const change = this.#changeIn(Math.max(start, sample - sampleMs), sample, offset);
        if (change === end) break; // the next chunk's first segment
        add(change);
        shown = change + offset; // a repeat ends long before the next change
        start = change;
        offset = this.#offsetAt(change);
      }
    }
    add(end);
    return segments;
  }

  /** Returns the first instant in (low, high] with another offset than `offset`, which `low` has and `high` has not. */
  #changeIn(low: number, high: number, offset: number): number {
    let before = low;
    let after = high;
    while (after - before > 1000) {
      const middle = Math.floor((before + after) / 2000) * 1000;
      if (this.#offsetAt(middle) === offset) before = middle;
      else after = middle;
    }
    return after;
  }

  #offsetAt(instant: number): number {
    // '3/29/2026, GMT+02:00'; 'GMT' alone is 0, and offsets before railway time have seconds
    const parts = /GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(this.#format.format(instant))!;
    if (parts[1] === undefined) return 0;
    const seconds = Number(parts[2]) * 3600 + Number(parts[3]) * 60 + Number(parts[4] ?? 0);
    return (parts[1] === '-' ? -seconds : seconds) * 1000;
  }
}

/** Computes `shown` of a cut segment: beyond the cut, the clock has shown at least the local time of the cut. */
function cut(shown: number, start: number, from: number, offset: number): number {
  return from === start ? shown : Math.max(shown, from + offset);
}

const zones = new Map<string, Zone>();

/** Returns the zone of an IANA name (any case), or null if it is unknown; a bare offset such as `+02:00` is unknown. */
export function zone(name: string): Zone | null {
  const known = zones.get(name);
  if (known !== undefined) return known;
  if (!/^[a-z]/i.test(name)) return null;
  try {
    const added = new Zone(name);
    zones.set(name, added);
    return added;
  } catch (error) {
    if (isError(error, 'RangeError')) return null; // Intl refuses an unknown name with a RangeError
    throw error;
  }
}

/** Returns up to three zone names similar to the given text: the same city first, then the nearest spellings. */
export function nearZones(name: string): readonly string[] {
  const wanted = name.trim().replaceAll(/[\s-]+/g, '_');
  const city = cityOf(wanted);
  const names = ['UTC', ...Intl.supportedValuesOf('timeZone')];
  const sameCity = names.filter((known) => cityOf(known) === city);
  return [...new Set([...sameCity, ...nearNames(wanted, names)])].slice(0, 3);
}

function cityOf(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1).toLowerCase();
}

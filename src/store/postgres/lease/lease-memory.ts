/** Maximum number of named attempts; further ones are not listed if the event loop is blocked. */
const places = 64;
const placeBytes = 256;
const headBytes = 16;

const encoder = new TextEncoder();

/**
 * The memory shared by the event loop and the thread that renews its lease: the loop's last turn, the start of an
 * unanswered commit, and the names of the running attempts. Only the loop writes.
 */
export class LeaseMemory {
  readonly buffer: SharedArrayBuffer;
  readonly #turns: Int32Array;
  readonly #waiting: Float64Array;
  readonly #lengths: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #free: number[] = [];

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(headBytes + places * (4 + placeBytes))) {
    this.buffer = buffer;
    this.#turns = new Int32Array(buffer, 0, 1);
    this.#waiting = new Float64Array(buffer, 8, 1);
    this.#lengths = new Int32Array(buffer, headBytes, places);
    this.#bytes = new Uint8Array(buffer, headBytes + places * 4);
    for (let place = places - 1; place >= 0; place--) this.#free.push(place);
  }

  /** Records a turn of the loop. */
  turn(): void {
    Atomics.add(this.#turns, 0, 1);
  }

  get turns(): number {
    return Atomics.load(this.#turns, 0);
  }

  /** Start (ms on the monotonic clock that the threads share) of a commit without an answer. */
  get waitsSince(): number | null {
    const at = this.#waiting[0]!;
    return at === 0 ? null : at;
  }

  set waitsSince(at: number | null) {
    this.#waiting[0] = at ?? 0;
  }

  /** Names a running attempt until the returned function is called. */
  attempt(name: string): () => void {
    const place = this.#free.pop();
    if (place === undefined) return () => undefined;
    const start = place * placeBytes;
    const { written } = encoder.encodeInto(name, this.#bytes.subarray(start, start + placeBytes));
    Atomics.store(this.#lengths, place, written);
    return () => {
      Atomics.store(this.#lengths, place, 0);
      this.#free.push(place);
    };
  }

  get attempts(): readonly string[] {
    const names: string[] = [];
    for (let place = 0; place < places; place++) {
      const length = Atomics.load(this.#lengths, place);
      // TextDecoder does not accept shared memory
      if (length > 0)
        names.push(Buffer.from(this.#bytes.slice(place * placeBytes, place * placeBytes + length)).toString());
    }
    return names;
  }
}

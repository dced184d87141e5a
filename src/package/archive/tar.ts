export const blockBytes = 512;
const nameBytes = 100;
const prefixBytes = 155;
const zeros = new Uint8Array(2 * blockBytes);

/**
 * Yields the canonical tar of some files, in the order given: ustar, regular files only, mode 0644, ids and times 0, a
 * pax header only before a path that is too long for ustar, two zero blocks at the end. The bytes are a contract: the
 * digest of every package depends on them, and the reader compares its input with them. Therefore they are written here
 * and not by a library whose next version may choose otherwise.
 */
export function* tarChunks(files: Iterable<readonly [path: string, bytes: Uint8Array]>): Generator<Uint8Array> {
  for (const [path, bytes] of files) {
    yield* headers(path, bytes.length);
    yield bytes;
    yield padding(bytes.length);
  }
  yield zeros;
}

/** Yields the canonical headers of a file. */
export function* headers(path: string, size: number): Generator<Uint8Array> {
  const split = splitPath(path);
  if (split !== null) {
    yield header(split.name, split.prefix, size, '0');
    return;
  }
  const record = paxPath(path);
  yield header('pax', '', record.length, 'x');
  yield record;
  yield padding(record.length);
  yield header('long-path', '', size, '0');
}

/** Returns the zeros that follow the bytes of a file. */
export function padding(size: number): Uint8Array {
  return zeros.subarray(0, (blockBytes - (size % blockBytes)) % blockBytes);
}

/** Keeps the path whole if it fits, otherwise cuts it at the last `/` that leaves both parts short enough. */
function splitPath(path: string): { name: string; prefix: string } | null {
  if (Buffer.byteLength(path) <= nameBytes) return { name: path, prefix: '' };
  for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
    const prefix = path.slice(0, slash);
    const name = path.slice(slash + 1);
    if (Buffer.byteLength(name) > nameBytes) return null;
    if (Buffer.byteLength(prefix) <= prefixBytes) return { name, prefix };
  }
  return null;
}

/** POSIX.1-2017, pax: "%d %s=%s\n"; the number counts its own digits. */
function paxPath(path: string): Uint8Array {
  const record = ` path=${path}\n`;
  const bytes = Buffer.byteLength(record);
  let length = bytes + String(bytes).length;
  length = bytes + String(length).length;
  return Buffer.from(`${length}${record}`);
}

/** POSIX.1-2017, pax, "ustar Interchange Format". */
function header(name: string, prefix: string, size: number, type: '0' | 'x'): Uint8Array {
  const block = Buffer.alloc(blockBytes);
  block.write(name, 0);
  octal(block, 0o644, 100, 8);
  octal(block, 0, 108, 8);
  octal(block, 0, 116, 8);
  octal(block, size, 124, 12);
  octal(block, 0, 136, 12);
  block.fill(' ', 148, 156);
  block.write(type, 156);
  block.write('ustar', 257);
  block.write('00', 263);
  block.write(prefix, 345);
  octal(block, sum(block), 148, 7);
  return block;
}

function octal(block: Buffer, value: number, offset: number, length: number): void {
  block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset);
}

function sum(block: Buffer): number {
  let total = 0;
  for (const byte of block) total += byte;
  return total;
}

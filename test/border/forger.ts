/** Code of a package that writes to the channel of its own process: `forge(message, text)` answers its first call. */
export const forger = `
import { writeSync } from 'node:fs';
function write(bytes) {
  for (let at = 0; at < bytes.length; ) {
    try { at += writeSync(3, bytes, at, Math.min(65536, bytes.length - at)); }
    catch (error) { if (error.code !== 'EAGAIN') return; }
  }
}
function frame(header, body = '') {
  const [head, rest] = [Buffer.from(header), Buffer.from(body)];
  const prefix = Buffer.alloc(8);
  prefix.writeUInt32LE(head.length, 0);
  prefix.writeUInt32LE(rest.length, 4);
  write(Buffer.concat([prefix, head, rest]));
}
// the first call of a process: of an execution its input is parsed before, unless the process is for one suspect alone
const ids = [1, 2];
function forge(message, text) {
  for (const id of ids) frame(JSON.stringify([[{ id, ...message }, Buffer.byteLength(text)]]), text);
}
const never = () => new Promise(() => setInterval(() => undefined, 1000));
const nested = (levels) => '['.repeat(levels) + ']'.repeat(levels);
`;

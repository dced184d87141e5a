import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const comment = /\/\/[#@]\s*sourceMappingURL=(\S+)\s*$/;
const inline = /^data:application\/json[^,]*?(;base64)?,(.*)$/s;

/** A module that another tool built, with its source map as JSON text. */
export interface MappedModule {
  readonly code: string;
  readonly map: string;
}

/** Reads a module with the source map that its last line names; null if it names none that can be read. */
export async function readMapped(file: string): Promise<MappedModule | null> {
  const code = await readFile(file, 'utf8');
  const url = comment.exec(code)?.[1];
  if (url === undefined) return null;
  const map = await mapText(url, file);
  return map === null || !isMap(map) ? null : { code: code.replace(comment, ''), map };
}

async function mapText(url: string, file: string): Promise<string | null> {
  const [, base64, data] = inline.exec(url) ?? [];
  try {
    if (data !== undefined) {
      return base64 === undefined ? decodeURIComponent(data) : Buffer.from(data, 'base64').toString('utf8');
    }
    const path = url.startsWith('file:') ? fileURLToPath(url) : resolve(dirname(file), decodeURIComponent(url));
    return await readFile(path, 'utf8');
  } catch {
    return null; // a map is an aid: its absence changes nothing that runs
  }
}

function isMap(text: string): boolean {
  try {
    const map: unknown = JSON.parse(text);
    return typeof map === 'object' && map !== null && Array.isArray(Reflect.get(map, 'sources'));
  } catch {
    return false;
  }
}

import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, platform, totalmem } from 'node:os';

/** Puts a text between the marks `<!-- name -->` and `<!-- /name -->` of a file. */
export function fillIn(file: URL, name: string, text: string): void {
  const [head, rest] = readFileSync(file, 'utf8').split(`<!-- ${name} -->`) as [string, string];
  const tail = rest.slice(rest.indexOf(`<!-- /${name} -->`));
  writeFileSync(file, `${head}<!-- ${name} -->\n\n${text}\n\n${tail}`);
}

/** The platform of the measurement. */
export function machineText(): string {
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}, ${memory} GiB, ${platform()}, Node ${process.version}`;
}

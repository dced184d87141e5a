// Writes suite.jsonl from a checkout of the suite: node test/json-schema/renew.ts CHECKOUT
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Group {
  readonly description: string;
  readonly schema: unknown;
  readonly tests: readonly { description: string; data: unknown; valid: boolean }[];
}

const [checkout = '.'] = process.argv.slice(2);
const folder = join(checkout, 'tests', 'draft2020-12');
const lines: string[] = [];
for (const part of ['', 'optional']) {
  for (const name of readdirSync(join(folder, part)).toSorted()) {
    if (!name.endsWith('.json')) continue;
    const groups = JSON.parse(readFileSync(join(folder, part, name), 'utf8')) as Group[];
    for (const { description, schema, tests } of groups) {
      const cases = tests.map((each) => ({ description: each.description, data: each.data, valid: each.valid }));
      lines.push(JSON.stringify({ file: join(part, name).replaceAll('\\', '/'), description, schema, tests: cases }));
    }
  }
}
writeFileSync(join(import.meta.dirname, 'suite.jsonl'), `${lines.join('\n')}\n`);
console.log(`${lines.length} groups`);

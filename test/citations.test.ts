import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';

const root = join(import.meta.dirname, '..');
const design = join(root, 'docs', 'design');

/** Headings per page of docs/design, in lower case. */
const pages: ReadonlyMap<string, readonly string[]> = new Map(
  globSync('*.md', { cwd: design })
    .filter((page) => page !== 'README.md')
    .map((page) => [page, headingsOf(readFileSync(join(design, page), 'utf8'))]),
);

function headingsOf(text: string): readonly string[] {
  return Array.from(text.matchAll(/^#+ (.+)$/gm), ([, heading = '']) => plain(heading));
}

function plain(text: string): string {
  return text.replaceAll('’', "'").replaceAll('`', '').toLowerCase();
}

/**
 * Each `page.md` of a text that is no page of docs/design, and each `page.md, Heading` whose page lacks the heading.
 */
function missing(text: string): readonly string[] {
  return Array.from(text.matchAll(/(?<![\w/.-])([\w-]+\.md)\b(, [^\n]*)?/g)).flatMap(([cited, page = '', rest]) => {
    const headings = pages.get(page);
    if (headings === undefined) return guides.has(page) ? [] : [`${page} is no page of docs/design`];
    if (rest === undefined) return [];
    const after = plain(rest.slice(2));
    const found = headings.some((heading) => after.startsWith(heading) && !/^\w/.test(after.slice(heading.length)));
    return found ? [] : [cited];
  });
}

/** Pages outside of docs/design that sources may name without citing a clause. */
const guides = new Set(
  globSync(['*.md', 'docs/*.md', 'docs/decisions/*.md', 'bench/**/*.md'], { cwd: root }).map((file) => basename(file)),
);

describe('code-style.md, Habits: test names and comments cite clauses of the design', () => {
  const files = globSync('{src,test,bench,scripts}/**/*.ts', { cwd: root }).filter(
    (file) => !file.includes('node_modules') && !/^(citations|docs)\.test\.ts$/.test(basename(file)),
  );
  test('every cited page and heading exists', () => {
    const found = files.flatMap((file) =>
      missing(readFileSync(join(root, file), 'utf8')).map((cited) => `${file}: ${cited}`),
    );
    assert.deepEqual(found, []);
  });

  test('a page or a heading that does not exist is reported', () => {
    assert.deepEqual(missing('durability.md, The fence: a zombie writes nothing'), []);
    assert.deepEqual(missing('durability.md: a zombie writes nothing'), []);
    assert.deepEqual(missing('durability.md, The fences'), ['durability.md, The fences']);
    assert.deepEqual(missing('nowhere.md: a zombie'), ['nowhere.md is no page of docs/design']);
  });
});

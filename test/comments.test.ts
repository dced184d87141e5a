import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { broken, commentsOf, folderOf } from '../scripts/comments.ts';

const texts = (source: string): readonly string[] => commentsOf(source).map(({ text }) => text);

describe('code-style.md, English: the counter of comments', () => {
  test('adjacent line comments are one comment, and a blank line or code separates two', () => {
    assert.deepEqual(commentsOf('// one\n//  and more\n\n// two\nf();\n// three\n'), [
      { line: 1, text: 'one and more' },
      { line: 4, text: 'two' },
      { line: 6, text: 'three' },
    ]);
  });

  test('a comment after code is separate from the comment on the next line', () => {
    assert.deepEqual(texts('f(); // after code\n// below\n'), ['after code', 'below']);
  });

  test('a doc comment is one text without its stars', () => {
    assert.deepEqual(texts('/**\n * First line.\n *\n * Second line.\n */\nf();'), ['First line. Second line.']);
  });

  test('the signs of a comment in strings, templates and regular expressions are no comment', () => {
    const source = [
      `const a = 'https://a'; const b = "/* no */"; const c = 'it\\'s // no';`,
      'const d = `// no ${f({ a: `/* no */` })} // no`; // yes 1',
      String.raw`const e = /[/]\/\/ "no/; const g = h / 2; // yes 2`,
      'const i = `${/* yes 3 */ j}`;',
    ].join('\n');
    assert.deepEqual(texts(source), ['yes 1', 'yes 2', 'yes 3']);
  });

  test('a comment that begins with a relative pronoun is counted, and one that contains it is not', () => {
    for (const text of ['What the owner saw.', 'whether it ended', 'Who holds it', 'Where the files are']) {
      assert.deepEqual(broken(text), ['opening'], text);
    }
    for (const text of ['The row tells what was seen.', 'Whole seconds only.', 'whatever']) {
      assert.deepEqual(broken(text), [], text);
    }
  });

  test('an indefinite subject is counted in any sentence, and after a comma or a semicolon', () => {
    for (const text of [
      'Nobody reads it.',
      'The row is locked. Others wait for it.',
      'The row is locked, so others wait for it.',
      'It is released; whoever comes next takes it.',
      'It waits, since somebody holds the row.',
    ]) {
      assert.deepEqual(broken(text), ['subject'], text);
    }
    for (const text of ['It is hidden from others.', 'The others wait.', 'A row that nobody holds.']) {
      assert.deepEqual(broken(text), [], text);
    }
  });

  test('a comment can break both rules', () => {
    assert.deepEqual(broken('Where it is held, nobody waits.'), ['opening', 'subject']);
  });

  test('a file is counted in the innermost folder that has a limit', () => {
    const folders = ['src', 'src/core', 'test'];
    assert.equal(folderOf('src/core/definition/graph.ts', folders), 'src/core');
    assert.equal(folderOf('src/open.ts', folders), 'src');
    assert.equal(folderOf('examples/main.ts', folders), undefined);
  });
});

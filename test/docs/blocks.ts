import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One code block of a Markdown document, or the hidden `<!-- setup` before one. */
export interface Block {
  /** Path below the root of the project, with `/`. */
  readonly document: string;
  /** The line of the document on which its text begins, from 1. */
  readonly line: number;
  /** The first word after the fence: `ts`, `sh`, `json`, `text` or another; `setup` for a hidden one. */
  readonly language: string;
  /** The other words: `run`, or `file=app.ts` as `file` with its value. A word alone has the value ''. */
  readonly marks: ReadonlyMap<string, string>;
  readonly text: string;
}

const checkedMarks: Readonly<Record<string, readonly string[]>> = {
  ts: ['file', 'continues', 'run'],
  sh: ['run', 'quickstart'],
  json: ['file'],
  text: ['output'],
  setup: [],
};

/** The documents whose code blocks are checked, as paths below the root of the project. */
export function documents(root: string): readonly string[] {
  return globSync(['*.md', 'docs/**/*.md', 'examples/**/*.md'], { cwd: root, exclude: ['**/node_modules/**'] })
    .map((file) => file.replaceAll('\\', '/'))
    .toSorted();
}

export function blocksOf(root: string, document: string): readonly Block[] {
  return readBlocks(document, readFileSync(join(root, document), 'utf8'));
}

/** Reads fenced blocks (with three or more backticks or tildes, indented or not) and hidden setups, in their order. */
export function readBlocks(document: string, markdown: string): readonly Block[] {
  const lines = markdown.split(/\r?\n/);
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at++) {
    const open = /^(?<indent>\s*)(?:(?<fence>`{3,}|~{3,})(?<info>[^`]*)|<!-- setup)$/.exec(lines[at] ?? '')?.groups;
    if (open === undefined) continue;
    const { indent = '', fence, info = 'setup' } = open;
    const isEnd = (line: string): boolean => (fence === undefined ? line.trim() === '-->' : closes(line.trim(), fence));
    const from = at + 1;
    for (at = from; at < lines.length && !isEnd(lines[at] ?? ''); at++);
    const text = lines.slice(from, at).map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line));
    const [language = '', ...words] = info.trim().split(/\s+/);
    const marks = new Map(words.map((word) => splitMark(word)));
    blocks.push({ document, line: from + 1, language, marks, text: text.join('\n') });
  }
  return blocks;
}

/** The problems of the words after a block's fence, as one sentence each. */
export function markProblems(block: Block): readonly string[] {
  const { language, marks } = block;
  if (language === '') return [`${place(block)}: a code block names its language; text where there is none`];
  const known = checkedMarks[language];
  if (known === undefined) {
    return marks.has('text')
      ? []
      : [`${place(block)}: nothing checks ${language}; if that must be, write: ${language} text`];
  }
  return [...marks.keys()]
    .filter((mark) => !known.includes(mark))
    .map(
      (mark) => `${place(block)}: a block of ${language} may be marked ${known.join(', ') || 'nothing'}, not ${mark}`,
    );
}

/** The place of a block, in the form that editors and terminals link. */
export function place({ document, line }: Pick<Block, 'document' | 'line'>): string {
  return `${document}:${line}`;
}

function closes(line: string, fence: string): boolean {
  return line.length >= fence.length && line === (fence[0] ?? '').repeat(line.length);
}

function splitMark(word: string): [name: string, value: string] {
  const at = word.indexOf('=');
  return at < 0 ? [word, ''] : [word.slice(0, at), word.slice(at + 1)];
}

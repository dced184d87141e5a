// Counts the comments whose English is hard to read, per folder. It fails if a folder has a larger share than the limit.
//
// Rule `opening`: the comment begins with a word of `openings`. A relative clause stands there in place of a noun.
// Rule `subject`: a sentence of the comment begins with a word of `subjects`, or a clause after a comma or semicolon does.
// Line comments of adjacent lines are one comment. A comment after code is one of its own.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './tool.ts';

export const rules = ['opening', 'subject'] as const;
export type Rule = (typeof rules)[number];

const openings = /^(what|whether|who|where)\b/i;
const subjects =
  /(?:^|[.!?:]\s+|[,;]\s+(?:(?:and|or|but|so|if|since|because|as|while|when)\s+)?)(some(?:body|one)|any(?:body|one)|every(?:body|one)|nobody|whoever|others)\b/i;

/** Folders that are counted by themselves. Each file belongs to the longest of them that holds it. */
const folders = [
  'src',
  'src/core',
  'src/store',
  'src/engine',
  'src/schedule',
  'src/package',
  'src/cli',
  'src/testing',
  'test',
  'bench',
  'scripts',
] as const;

/** Largest allowed share in percent of the comments of a folder. */
const limits: Readonly<Record<Rule, number>> = { opening: 5, subject: 3 };

export interface Comment {
  /** The line on which it begins, counted from 1. */
  readonly line: number;
  /** Without its delimiters, as one line. */
  readonly text: string;
}

interface Piece {
  readonly from: number;
  readonly text: string;
}

/** One comment, or a literal that may contain the signs of one. The order of the alternatives decides. */
const token =
  /(?<line>\/\/[^\n]*)|(?<block>\/\*[\s\S]*?\*\/)|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|(?<=(?:^|[(,=:[!&|?{};\n]|=>|return)\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/|[`{}]/g;

/** The comments of a TypeScript source, in their order. */
export function commentsOf(source: string): readonly Comment[] {
  const found: Piece[] = [];
  const braces: ('code' | 'template')[] = [];
  const tokens = new RegExp(token);
  for (let match = tokens.exec(source); match !== null; match = tokens.exec(source)) {
    const [text] = match;
    if (match.groups?.['line'] !== undefined || match.groups?.['block'] !== undefined) {
      found.push({ from: match.index, text });
    } else if (text === '{') {
      braces.push('code');
    } else if (text === '`' || (text === '}' && braces.pop() === 'template')) {
      tokens.lastIndex = templateEnd(source, tokens.lastIndex);
      if (source[tokens.lastIndex - 1] === '{') braces.push('template');
    }
  }
  return joined(source, found);
}

/** The index after the next backtick or `${` of a template literal. */
function templateEnd(source: string, from: number): number {
  const end = /(?:\\[\s\S]|(?!\$\{)[^`\\])*(?:`|\$\{)/y;
  end.lastIndex = from;
  return end.test(source) ? end.lastIndex : source.length;
}

function joined(source: string, pieces: readonly Piece[]): readonly Comment[] {
  const comments: { line: number; text: string }[] = [];
  let open = -1; // the index after the last line comment, if it has its lines for itself
  for (const { from, text } of pieces) {
    const isOwnLine = text.startsWith('//') && /(?:^|\n)[ \t]*$/.test(source.slice(0, from));
    const last = comments.at(-1);
    if (
      isOwnLine &&
      last !== undefined &&
      open >= 0 &&
      /^\s*$/.test(source.slice(open, from)) &&
      !/\n\s*\n/.test(source.slice(open, from))
    ) {
      last.text = `${last.text} ${plain(text)}`.trim();
    } else {
      comments.push({ line: source.slice(0, from).split('\n').length, text: plain(text) });
    }
    open = isOwnLine ? from + text.length : -1;
  }
  return comments;
}

function plain(comment: string): string {
  return comment
    .replaceAll(/^\/\/+|^\/\*+|\*+\/$/g, '')
    .replaceAll(/^[ \t]*\*/gm, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

/** The rules that a comment breaks. */
export function broken(text: string): readonly Rule[] {
  return rules.filter((rule) => (rule === 'opening' ? openings : subjects).test(text));
}

/** The folder of the table that a file is counted in: the longest one that contains it. */
export function folderOf(file: string, among: readonly string[]): string | undefined {
  return among.filter((folder) => file.startsWith(`${folder}/`)).toSorted((one, other) => other.length - one.length)[0];
}

interface Share {
  comments: number;
  readonly broken: Record<Rule, number>;
}

function percent(share: Share, rule: Rule): number {
  return share.comments === 0 ? 0 : (100 * share.broken[rule]) / share.comments;
}

function report(): void {
  const shares = new Map(
    folders.map((folder): [string, Share] => [folder, { comments: 0, broken: { opening: 0, subject: 0 } }]),
  );
  const worst: { readonly file: string; readonly lines: readonly number[] }[] = [];
  for (const found of globSync('{src,test,bench,scripts}/**/*.ts', { cwd: root, exclude: ['**/node_modules'] })) {
    const file = found.replaceAll('\\', '/');
    const share = shares.get(folderOf(file, [...shares.keys()]) ?? '');
    if (share === undefined) throw new Error(`No folder covers ${file}.`);
    const lines: number[] = [];
    for (const { line, text } of commentsOf(readFileSync(join(root, file), 'utf8'))) {
      const rulesBroken = broken(text);
      share.comments += 1;
      for (const rule of rulesBroken) share.broken[rule] += 1;
      if (rulesBroken.length > 0) lines.push(line);
    }
    if (lines.length > 0) worst.push({ file, lines });
  }
  for (const [folder, share] of shares) {
    const parts = rules.map((rule) => {
      const now = percent(share, rule);
      const limit = limits[rule];
      if (now > limit) process.exitCode = 1;
      return `${rule} ${now.toFixed(1)} % (limit ${limit})${now > limit ? ' TOO MANY' : ''}`;
    });
    console.log(`${folder}: ${share.comments} comments, ${parts.join(', ')}`);
  }
  console.log('\nFiles with the most such comments, and their lines:');
  for (const { file, lines } of worst.toSorted((one, other) => other.lines.length - one.lines.length).slice(0, 15)) {
    console.log(`  ${file}: ${lines.join(', ')}`);
  }
}

if (import.meta.main) report();

import { styleText } from 'node:util';
import { indented, oneLine, plainJson } from '../core/plain.ts';
import { stdout } from './stdout.ts';

/** A style name of `styleText`. */
export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** A cell of a table: plain, or styled. */
export type Cell = string | { readonly text: string; readonly style: Style };

/**
 * The output of a command. With `--json` stdout has only one document (streams: one per line), otherwise
 * text. Notes go to stderr in both cases. A failed write throws FILE_UNWRITABLE.
 */
export class Output {
  readonly json: boolean;

  constructor(json: boolean) {
    this.json = json;
  }

  /** Fires when the reader of stdout has gone (`cloacina ... | head`). */
  get closed(): AbortSignal {
    return stdout.closed;
  }

  /** Prints the result of a command. */
  answer(document: object, text: () => string): void {
    this.#write(this.json ? pretty(document) : text());
  }

  /** Prints one item of a stream: a document on one line, or text. */
  item(document: object, text: () => string): void {
    this.#write(this.json ? plainJson(JSON.stringify(document)) : text());
  }

  /** Prints a line unchanged. */
  line(text: string): void {
    this.#write(text);
  }

  /** Prints progress or a hint to stderr. */
  note(text: string): void {
    process.stderr.write(`${text}\n`);
  }

  #write(text: string): void {
    if (text !== '') stdout.write(`${text}\n`);
  }
}

/** Colours a text if the stream is a terminal with colours and NO_COLOR is not set. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return text === '' ? '' : styleText(style, text, { stream });
}

/** Formats columns under their heads, as wide as their cells. */
export function table(heads: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const texts = rows.map((row) => row.map((cell) => oneLine(typeof cell === 'string' ? cell : cell.text)));
  const widths = heads.map((head, at) => Math.max(head.length, ...texts.map((row) => row[at]!.length)));
  const line = (cells: readonly string[], styles: readonly (Style | undefined)[]): string =>
    cells
      .map((text, at) => {
        const padded = at === cells.length - 1 ? text : text.padEnd(widths[at]!);
        return styles[at] === undefined ? padded : paint(styles[at], padded);
      })
      .join('  ')
      .trimEnd();
  const body = rows.map((row, at) =>
    line(
      texts[at]!,
      row.map((cell) => (typeof cell === 'string' ? undefined : cell.style)),
    ),
  );
  const head = line(
    heads,
    heads.map(() => 'dim'),
  );
  return [head, ...body].join('\n');
}

/** Lines of name and value; pairs without a value are omitted. */
export function fields(pairs: readonly (readonly [name: string, value: Cell | null])[]): string {
  const shown = pairs.filter(([, value]) => value !== null && value !== '');
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown
    .map(([name, value]) => {
      const shownText = indented(typeof value === 'string' ? value : value!.text, width + 2);
      const text = typeof value === 'string' ? shownText : paint(value!.style, shownText);
      return `${paint('dim', name.padEnd(width))}  ${text}`;
    })
    .join('\n');
}

/** Indented JSON that is safe for a terminal. */
export function pretty(value: unknown): string {
  return plainJson(JSON.stringify(value, null, 2));
}

/** JSON on one line, cut after `most` characters. */
export function short(value: unknown, most = 100): string {
  const text = JSON.stringify(value) ?? '';
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** Epoch ms as text in UTC, to the second. */
export function time(at: number | null): string {
  return at === null ? '' : `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')}Z`;
}

const statusStyles: Readonly<Record<string, Style>> = {
  completed: 'green',
  running: 'cyan',
  waiting: 'cyan',
  paused: 'yellow',
  cancelled: 'yellow',
  cancelling: 'yellow',
  failed: 'red',
  yanked: 'yellow',
  quarantined: 'red',
  skipped: 'dim',
};

export function status(word: string): Cell {
  const style = statusStyles[word];
  return style === undefined ? word : { text: word, style };
}

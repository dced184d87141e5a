/** Maximum number of characters of a line of output; a longer one is cut. */
const maxLineLength = 8192;

/** Joins pieces of text into lines. Bounded: the rest of a long line is dropped as it comes. Empty lines are left out. */
export class Lines {
  readonly #line: (line: string) => void;
  #open = '';
  #cut = false;

  constructor(line: (line: string) => void) {
    this.#line = line;
  }

  take(text: string): void {
    const [first = '', ...rest] = text.split('\n');
    this.#extend(first);
    for (const part of rest) {
      this.#close();
      this.#extend(part);
    }
  }

  /** Ends the last line. */
  end(): void {
    if (this.#open !== '') this.#close();
  }

  #extend(part: string): void {
    const space = maxLineLength - this.#open.length;
    if (part.length > space) this.#cut = true;
    this.#open += part.slice(0, Math.max(0, space));
  }

  #close(): void {
    const line = this.#open.replace(/\r$/, '') + (this.#cut ? '... (cut)' : '');
    this.#open = '';
    this.#cut = false;
    if (line !== '') this.#line(line);
  }
}

import { indented, plainJson } from '../../core/plain.ts';

/** The output of the demo: numbered steps with text lines, or one JSON event a line. */
export class Story {
  readonly #out: (line: string) => void;
  readonly #json: boolean;
  readonly #now: () => number;
  #steps = 0;

  constructor(out: (line: string) => void, json: boolean, now: () => number) {
    this.#out = out;
    this.#json = json;
    this.#now = now;
  }

  /** Begins the next step; JSON output omits it. */
  step(title: string): void {
    if (this.#json) return;
    this.#steps++;
    this.#out(`${this.#steps === 1 ? '' : '\n'}${this.#steps}. ${title}`);
  }

  /** `fields` are for JSON output, `lines` are the same as text. */
  tell(event: string, fields: object, lines: readonly string[]): void {
    if (this.#json) this.#out(plainJson(JSON.stringify({ event, at: new Date(this.#now()).toISOString(), ...fields })));
    else for (const line of lines) this.#out(`   ${indented(line)}`);
  }
}

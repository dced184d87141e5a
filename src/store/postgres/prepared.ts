import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import { isAnswer } from './errors.ts';

/** Maximum number of named statements: lists with any number of tags have as many texts. */
const mostNames = 500;
/**
 * After this time a connection replans its statements: a plan for an empty table is bad for one that has filled up
 * since.
 */
const planMs = 10_000;

/** The names of statements that are prepared once a connection, and the age of their plans. */
export class Prepared {
  readonly #names = new Map<string, string>();
  readonly #plannedAt = new WeakMap<object, number>();

  /**
   * Returns a name derived from the text: another version of Cloacina may use the same connection of a pooler.
   * Undefined: the statement is not prepared.
   */
  nameOf(text: string): string | undefined {
    let name = this.#names.get(text);
    if (name === undefined) {
      if (this.#names.size >= mostNames) return undefined;
      name = `cloacina_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
      this.#names.set(text, name);
    }
    return name;
  }

  /** Makes a connection drop old plans. */
  async refresh(client: ClientBase, deadlineMs: number): Promise<void> {
    const now = performance.now();
    const plannedAt = this.#plannedAt.get(client);
    if (plannedAt !== undefined && now - plannedAt < planMs) return;
    this.#plannedAt.set(client, now);
    if (plannedAt === undefined) return;
    try {
      await client.query(Object.assign({ text: 'discard plans' }, { query_timeout: deadlineMs }));
    } catch (error) {
      // a compatible server without this command manages its plans itself
      if (!isAnswer(error)) throw error;
    }
  }
}

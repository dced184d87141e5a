import { setTimeout } from 'node:timers/promises';
import { Client } from 'pg';

/** How the test itself looks at the database: a connection a question, and again where there is no answer. */
export class Control {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async query<Row extends object>(text: string, ...values: readonly unknown[]): Promise<readonly Row[]> {
    for (let tries = 0; ; tries++) {
      const client = new Client({ connectionString: this.#url, connectionTimeoutMillis: 5000 });
      client.on('error', () => undefined); // the query is told
      try {
        await client.connect();
        const { rows } = await client.query<Row>(text, [...values]);
        return rows;
      } catch (error) {
        if (tries === 200) throw error;
      } finally {
        await client.end().catch(() => undefined);
      }
      await setTimeout(100);
    }
  }

  async runnersOf(pid: number): Promise<readonly string[]> {
    return (await this.query<{ id: string }>('select id from runners where pid = $1', pid)).map(({ id }) => id);
  }

  async owned(runners: readonly string[]): Promise<number> {
    const [row] = await this.query<{ n: number }>(
      'select count(*)::int as n from executions where owner = any($1)',
      runners,
    );
    return row!.n;
  }

  async unfinished(): Promise<number> {
    const [row] = await this.query<{ n: number }>('select count(*)::int as n from executions where ended_at is null');
    return row!.n;
  }
}

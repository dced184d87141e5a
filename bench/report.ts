import type { Rate } from './measure.ts';

/** One row of a table of rates: a scenario and its result by the number at once. */
export interface Row {
  readonly what: string;
  readonly byWidth: ReadonlyMap<number, Partial<Rate> & Pick<Rate, 'perSecond'>>;
}

export interface Figure {
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  /** Empty if there is none. */
  readonly goal: string;
}

/** The results of one part of the bench. */
export class Report {
  readonly rows: Row[] = [];
  readonly figures: Figure[] = [];

  row(what: string, byWidth: Row['byWidth']): void {
    this.rows.push({ what, byWidth });
  }

  figure(figure: string, value: number, unit: string, goal = ''): void {
    this.figures.push({ figure, value: Math.round(value * 1000) / 1000, unit, goal });
  }

  /** Both tables, as Markdown. */
  text(widths: readonly number[]): string {
    return [
      `| | ${widths.map((width) => `${width} at once`).join(' | ')} |`,
      `| --- | ${widths.map(() => '---').join(' | ')} |`,
      ...this.rows.map(
        ({ what, byWidth }) => `| ${what} | ${widths.map((width) => cell(byWidth.get(width))).join(' | ')} |`,
      ),
      '',
      '| figure | measured | goal |',
      '| --- | --- | --- |',
      ...this.figures.map(({ figure, value, unit, goal }) => `| ${figure} | ${`${value} ${unit}`.trim()} | ${goal} |`),
    ].join('\n');
  }

  /** The results as JSON, for programs. */
  json(): unknown {
    const rows = this.rows.map(({ what, byWidth }) => ({ what, byWidth: Object.fromEntries(byWidth) }));
    return { rows, figures: this.figures };
  }
}

function cell(rate: (Partial<Rate> & Pick<Rate, 'perSecond'>) | undefined): string {
  if (rate === undefined) return '';
  const { perSecond, medianMs, p99Ms } = rate;
  const latency = medianMs === undefined ? '' : ` (median ${medianMs} ms, p99 ${p99Ms} ms)`;
  return `${Math.round(perSecond)}/s${latency}`;
}

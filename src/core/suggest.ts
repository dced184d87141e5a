/** Returns at most three known names similar to a missing one, the nearest first (Damerau-Levenshtein distance). */
export function nearNames(name: string, known: readonly string[]): string[] {
  const limit = Math.max(2, Math.floor(name.length / 3));
  const scored = known.map((other) => ({ other, score: score(name.toLowerCase(), other.toLowerCase()) }));
  const near = scored.filter(({ score: far }) => far <= limit).toSorted((a, b) => a.score - b.score);
  return near.slice(0, 3).map(({ other }) => other);
}

function score(name: string, other: string): number {
  if (name.length >= 3 && (other.includes(name) || other.endsWith(`/${name}`))) return 1;
  return distance(name, other);
}

/** Counts the insertions, deletions, substitutions and swaps of neighbours that turn one text into the other. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2]! + 1);
      row.push(best);
    }
    before = last;
    last = row;
  }
  return last[b.length]!;
}

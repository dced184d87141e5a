/** The folders of src/ that a page names in the first column of its tables, as paths with a `/` at their end. */
export function foldersNamed(page: string): readonly string[] {
  return page
    .split('\n')
    .filter((line, i, lines) => line.startsWith('|') && lines[i + 1]?.startsWith('| ---') !== true)
    .flatMap((line) => Array.from((line.split('|')[1] ?? '').matchAll(/`([\w/-]+\/)`/g), ([, name = '']) => name));
}

/** The folders of a list of files below src/, with their numbers of files. */
export function foldersOf(files: Iterable<string>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const file of files) {
    const folder = file.slice(0, file.lastIndexOf('/') + 1);
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return counts;
}

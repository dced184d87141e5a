/**
 * The files that the tables of ARCHITECTURE.md name, as paths below src/. The head of a table begins with a folder; so may a
 * row, by a name that ends in `/`, and the names after that are of files in there.
 */
export function filesNamed(page: string): readonly string[] {
  const found: string[] = [];
  const lines = page.split('\n');
  let table = '';
  for (const [i, line] of lines.entries()) {
    if (!line.startsWith('|')) continue;
    const names = Array.from(line.matchAll(/`([^`]+)`/g), ([, name = '']) => name);
    if (lines[i + 1]?.startsWith('| ---') === true) {
      table = names[0] === 'src/' ? '' : (names[0] ?? '');
      continue;
    }
    let folder = table;
    for (const name of names) {
      if (name.endsWith('/')) folder = `${table}${name}`;
      else if (name.endsWith('.ts')) found.push(`${folder}${name}`);
    }
  }
  return found;
}

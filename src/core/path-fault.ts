/**
 * Returns the reason why the path in a URL of a database or a registry is surely not the one that was meant, or null.
 * Only a shell expands `~` and variables, and other tools take parameters, quotation marks and drive letters: as names
 * of files they would put the data into another place without a word. `platform`: that of `process.platform`.
 */
export function pathFault(path: string, platform: string): string | null {
  if (path.trim() !== path) return 'it begins or ends with white space';
  if (/\p{Cc}/u.test(path)) return 'it contains a control character';
  if (/^["']|["']$/.test(path)) return 'it begins or ends with a quotation mark';
  if (path.includes('?')) return "parameters after '?' are not supported; leave them out";
  if (/^file:/i.test(path)) return "a path does not begin with 'file:'";
  const expanded = /^\/*(~|\$\w+|\$\{[^}]*\}|\$\([^)]*\)|%\w+%)/.exec(path)?.[1];
  if (expanded !== undefined) {
    return `'${expanded}' is expanded by a shell only: write the whole path, or './${expanded}' for a file of that name`;
  }
  if (platform === 'win32') return null;
  if (/^\/*[a-z]:[\\/]/i.test(path)) return 'a drive letter names a place on Windows only';
  if (/^\.{0,2}\\/.test(path)) return "a path is written with '/' here";
  return null;
}

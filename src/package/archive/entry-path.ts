import { hasHidden } from '../../core/text.ts';

/** Maximum length of a path in an archive, bytes of UTF-8. */
const maxPathBytes = 1000;
/** Maximum length of a file or folder name on common file systems (ext4, APFS, NTFS). */
const maxSegmentBytes = 255;
/** Maximum number of segments of a path. */
const maxParts = 32;
/** Maximum total length of all paths of an archive, characters: each path is walked folder by folder, twice. */
const maxTotal = 1024 * 1024;

const folders = ['code/', 'assets/', 'source/'];
/** Windows drops blanks before the first dot, and everything after it. */
const deviceName = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)/i;

/**
 * Returns the reason for which a path is refused in an archive, or null. An accepted path can be unpacked on Linux,
 * macOS and Windows, stays inside the target folder, and names the same file on all of them.
 */
export function pathFault(path: string): string | null {
  if (path === '') return 'the name is empty';
  if (path.includes('\0')) return 'the name holds a NUL';
  if (path.startsWith('/') || /^[a-z]:/i.test(path)) return 'the path is absolute';
  if (path.includes('\\')) return "the path holds a backslash; folders are separated by '/'";
  if (!path.isWellFormed() || path.includes('\ufffd')) return 'the name is not UTF-8';
  if (hasHidden(path)) return 'the name holds a control character or an invisible one';
  if (path !== path.normalize('NFC')) return 'the name is not in Unicode normal form C';
  if (/[<>:"|?*]/.test(path)) return 'the name holds one of < > : " | ? *, which Windows does not allow';
  if (Buffer.byteLength(path) > maxPathBytes) return `the path is longer than ${maxPathBytes} bytes`;
  const segments = path.split('/', maxParts + 1);
  if (segments.length > maxParts) return `the path has more than ${maxParts} parts`;
  for (const segment of segments) {
    const fault = segmentFault(segment);
    if (fault !== null) return fault;
  }
  if (path === 'manifest.json' || folders.some((folder) => path.startsWith(folder))) return null;
  return `it lies outside of ${folders.join(', ')}`;
}

function segmentFault(segment: string): string | null {
  if (segment === '') return 'the path has an empty segment';
  if (segment === '..') return "the path holds '..'";
  if (segment.startsWith('.')) return 'a name begins with a dot';
  if (/[. ]$/.test(segment)) return 'a name ends with a dot or a space, which Windows drops';
  if (deviceName.test(segment)) return `'${segment}' is a device on Windows`;
  return Buffer.byteLength(segment) > maxSegmentBytes ? `a name is longer than ${maxSegmentBytes} bytes` : null;
}

/**
 * Returns a function that takes the paths of one archive in turn and returns the conflict of the next with earlier
 * ones, or null: the same path twice, a path that differs only in case, a file whose path is another entry's folder, a
 * total length over the limit.
 */
export function clashFinder(): (path: string) => string | null {
  const files = new Map<string, string>();
  const parents = new Set<string>();
  let total = 0;
  return (path) => {
    total += path.length;
    if (total > maxTotal) return `the paths of the archive have more than ${maxTotal} characters together`;
    const key = caseFold(path);
    const twin = files.get(key);
    if (twin === path) return 'it is there twice';
    if (twin !== undefined) return `it differs from '${twin}' only in case`;
    if (parents.has(key)) return 'it is both a file and a folder';
    files.set(key, path);
    for (let slash = key.lastIndexOf('/'); slash > 0; slash = key.lastIndexOf('/', slash - 1)) {
      const parent = key.slice(0, slash);
      if (files.has(parent)) return `'${files.get(parent)}' is both a file and a folder`;
      parents.add(parent);
    }
    return null;
  };
}

/** Two steps: 'ß' and 'ẞ', or the Greek sigmas, are equal only after upper-casing and then lower-casing. */
function caseFold(path: string): string {
  return path.toUpperCase().toLowerCase().normalize('NFC');
}

/** Orders the paths of an archive by their UTF-8 bytes, independent of the locale. */
export function byPathBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

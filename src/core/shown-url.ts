/** Parameters that only locate a database. Any other parameter may hold a secret, under any spelling of its name. */
const shownParameters: ReadonlySet<string> = new Set(['host', 'port', 'schema']);
const hidden = '…';

/**
 * Returns the URL of a database or a registry in a form that is safe to print: scheme, hosts, ports, path, and the
 * parameters above. The text is built from the parsed URL and never by a pattern over the given one, since a password
 * with special characters makes a URL whose parts are misleading. An unreadable URL is reduced to its scheme.
 */
export function shownUrl(text: string): string {
  if (/^(?:sqlite|file):(?!\/\/[^/]*[@:])/i.test(text)) return shownFile(text);
  const scheme = /^([a-z][a-z0-9+.-]*:)(\/\/)?/i.exec(text);
  // a file path, which is the usual mistake
  if (scheme === null) return /^(?!\/\/)[^@:=?]*$/.test(text) ? text : hidden;
  // in 'app:password@host/db' the part before the colon is the name of the user
  if (scheme[2] === undefined) return text.includes('@') ? hidden : `${scheme[1]}${hidden}`;
  const urls = parsedUrls(text);
  if (urls === null) return `${scheme[0]}${hidden}`;
  const { protocol, pathname, searchParams } = urls[0]!;
  const parameters = [...searchParams].filter(([name]) => shownParameters.has(name));
  const query = new URLSearchParams(parameters).toString();
  const hosts = urls.map(({ host }) => host).join(',');
  return `${protocol}//${hosts}${pathname}${query === '' ? '' : `?${query.replaceAll('%2F', '/').replaceAll('%3A', ':')}`}`;
}

/** Other tools put keys into the query of a file URL. */
function shownFile(text: string): string {
  const at = text.indexOf('?');
  return at === -1 ? text : `${text.slice(0, at)}?${hidden}`;
}

/**
 * Splits `scheme://user:password@one:1,two:2/path?query` into one URL for each host, which may be empty; null if it is unreadable. An '@'
 * after the hosts counts as unreadable: it belongs to a password with a raw '/', '?' or '#', so that the host is a part
 * of it.
 */
export function parsedUrls(text: string): readonly URL[] | null {
  const [, start, hosts, rest] = /^([a-z][a-z0-9+.-]*:\/\/(?:[^/?#]*@)?)([^/?#]*)([^]*)$/i.exec(text) ?? [];
  if (start === undefined || hosts === undefined || rest === undefined || rest.includes('@')) return null;
  const each = hosts.split(',');
  if (each.length > 1 && each.includes('')) return null;
  const isLocal = hosts === '' && start.endsWith('@');
  const urls = each.map((host) => (isLocal ? localUrl(start, rest) : URL.parse(`${start}${host}${rest}`)));
  return urls.every((url) => url !== null && isDecodable(url)) ? (urls as URL[]) : null;
}

/**
 * Parses `scheme://user:password@/path?host=/socket`, the URL of a server on a UNIX socket. A URL without a host has no
 * place for a user, so user and password become parameters, which drivers read in the same way.
 */
function localUrl(start: string, rest: string): URL | null {
  const url = URL.parse(`${start}placeholder${rest}`);
  if (url === null || !isDecodable(url)) return null;
  for (const [name, value] of [
    ['user', url.username],
    ['password', url.password],
  ] as const) {
    if (value !== '' && !url.searchParams.has(name)) url.searchParams.set(name, decodeURIComponent(value));
  }
  Object.assign(url, { username: '', password: '', host: '' });
  return url;
}

/** Drivers decode these parts, and their error about an invalid '%' does not name the URL. */
function isDecodable({ username, password, hostname, pathname }: URL): boolean {
  try {
    for (const part of [username, password, hostname, pathname]) decodeURIComponent(part);
    return true;
  } catch {
    return false;
  }
}

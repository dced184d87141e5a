/** Parameters that say where a database is. Every other one may hold a secret, under any spelling of its name. */
const shownParameters: ReadonlySet<string> = new Set(['host', 'port', 'schema']);
const hidden = '…';

/**
 * A URL of a database or a registry, as it may be printed: scheme, hosts, ports, path, and parameters that say where
 * something is. The text is built from the parsed URL and never by a pattern over the given one, since a password with
 * special characters makes a URL whose parts are not what they look like. Of a URL that cannot be read only the scheme
 * is shown.
 */
export function shownUrl(text: string): string {
  if (/^(?:sqlite|file):(?!\/\/[^/]*[@:])/i.test(text)) return shownFile(text);
  const scheme = /^([a-z][a-z0-9+.-]*:)(\/\/)?/i.exec(text);
  // the path of a file, which is the usual mistake
  if (scheme === null) return /^(?!\/\/)[^@:=?]*$/.test(text) ? text : hidden;
  // of 'app:password@host/db' it is the name of the user
  if (scheme[2] === undefined) return text.includes('@') ? hidden : `${scheme[1]}${hidden}`;
  const urls = parsedUrls(text);
  if (urls === null) return `${scheme[0]}${hidden}`;
  const { protocol, pathname, searchParams } = urls[0]!;
  const parameters = [...searchParams].filter(([name]) => shownParameters.has(name));
  const query = new URLSearchParams(parameters).toString();
  const hosts = urls.map(({ host }) => host).join(',');
  return `${protocol}//${hosts}${pathname}${query === '' ? '' : `?${query.replaceAll('%2F', '/')}`}`;
}

/** Other tools put keys into the query of a file's URL. */
function shownFile(text: string): string {
  const at = text.indexOf('?');
  return at === -1 ? text : `${text.slice(0, at)}?${hidden}`;
}

/**
 * `scheme://user:password@one:1,two:2/path?query` as one URL for each host; null where it cannot be read. An '@' after
 * the hosts counts as unreadable: it belongs to a password with a raw '/', '?' or '#', so that the host is a part of it.
 */
export function parsedUrls(text: string): readonly URL[] | null {
  const [, start, hosts, rest] = /^([a-z][a-z0-9+.-]*:\/\/(?:[^/?#]*@)?)([^/?#]*)([^]*)$/i.exec(text) ?? [];
  if (start === undefined || hosts === undefined || rest === undefined || rest.includes('@')) return null;
  const each = hosts.split(',');
  if (each.length > 1 && each.includes('')) return null;
  const urls = each.map((host) => URL.parse(`${start}${host}${rest}`));
  return urls.every((url) => url !== null && isDecodable(url)) ? (urls as URL[]) : null;
}

/** Drivers decode these parts, and their error of a '%' that encodes nothing does not name the URL. */
function isDecodable({ username, password, hostname, pathname }: URL): boolean {
  try {
    for (const part of [username, password, hostname, pathname]) decodeURIComponent(part);
    return true;
  } catch {
    return false;
  }
}

import { CloacinaError } from '../../core/error.ts';
import { stringifyJson } from '../../core/json.ts';
import { arrayMembers } from '../../core/json-text.ts';

/** The most items of a map: all are in memory while it runs, and each is a row. */
const maxMapItems = 100_000;
/** The most bytes of JSON that the items of one map may have in all. */
export const maxMapBytes = 33_554_432;

/** JSON text of the value that `over` of a map returned. Throws MAP_TOO_LARGE; too many items throw before the text is made. */
export function mapItemsText(value: unknown, map: string): string {
  if (Array.isArray(value) && value.length > maxMapItems) throw tooManyItems(map, value.length);
  const text = stringifyJson(value, `over of ${map}`, Infinity);
  const bytes = Buffer.byteLength(text);
  if (bytes > maxMapBytes) throw tooManyBytes(map, bytes);
  return text;
}

/** The texts of the items of a map; null if `over` returned no array. Throws MAP_TOO_LARGE. */
export function mapItemsOf(text: string, map: string): string[] | null {
  // `mapItemsText` admits no longer text: this one comes from a process that skipped it
  if (text.length > maxMapBytes) throw tooManyBytes(map, Buffer.byteLength(text));
  const members = arrayMembers(text, maxMapItems);
  if (members === 'too_many') throw tooManyItems(map);
  return members === 'not_array' ? null : members;
}

function tooManyItems(map: string, count?: number): CloacinaError {
  const many = count === undefined ? `more than ${maxMapItems}` : `${count}, more than ${maxMapItems}`;
  return new CloacinaError('MAP_TOO_LARGE', `the items of map '${map}' are ${many}; ${smaller}`);
}

function tooManyBytes(map: string, bytes: number): CloacinaError {
  const message = `the items of map '${map}' have ${bytes} bytes of JSON in total, more than ${maxMapBytes}; ${smaller}`;
  return new CloacinaError('MAP_TOO_LARGE', message);
}

const smaller = 'let one item cover a batch or refer to its data, or split the work over child workflows';

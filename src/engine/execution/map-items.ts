import { CloacinaError } from '../../core/error.ts';
import { stringifyJson } from '../../core/json.ts';
import { arrayMembers } from '../../core/json-text.ts';

/** Items that one map may have: they are all in memory while it runs, and each is a row. */
const maxMapItems = 100_000;
/** Bytes of JSON that the items of one map may have together. */
export const maxMapBytes = 33_554_432;

/** JSON text of what the `over` of a map gave. Throws MAP_TOO_LARGE, before a text is made where there are too many. */
export function mapItemsText(value: unknown, map: string): string {
  if (Array.isArray(value) && value.length > maxMapItems) throw tooManyItems(map, value.length);
  const text = stringifyJson(value, `over of ${map}`, Infinity);
  const bytes = Buffer.byteLength(text);
  if (bytes > maxMapBytes) throw tooManyBytes(map, bytes);
  return text;
}

/** The texts of the items of a map; `over` gave no array where it is null. Throws MAP_TOO_LARGE. */
export function mapItemsOf(text: string, map: string): string[] | null {
  // only a text that says more than the code's own check let through is longer
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

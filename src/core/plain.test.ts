import assert from 'node:assert/strict';
import { test } from 'node:test';
import { indented, oneLine, plain, plainJson } from './plain.ts';

test('control and invisible characters are escaped; line ends, tabs, letters and symbols are kept', () => {
  assert.equal(plain('a\u001b[1A\u0007\u007f\u009b1A\rb'), 'a\\u001b[1A\\u0007\\u007f\\u009b1A\\u000db');
  assert.equal(
    plain('\u202e\u2066\u200b\u200f\u061c\ufeff\u2028'),
    '\\u202e\\u2066\\u200b\\u200f\\u061c\\ufeff\\u2028',
  );
  assert.equal(plain('\u{e0041}'), '\\udb40\\udc41');
  assert.equal(plain('Grüße,\t日本\r\nשלום ✔️'), 'Grüße,\t日本\nשלום ✔️');
});

test('further lines are indented or joined', () => {
  assert.equal(indented('a\r\nb\n\u001b'), 'a\n    b\n    \\u001b');
  assert.equal(oneLine('a \r\n\tb\nc'), 'a b c');
});

test('JSON keeps its value', () => {
  const value = { text: 'a\u001b\u009b\u202e\u{e0041}\n' };
  const json = plainJson(JSON.stringify(value));
  assert.match(json, /^[ -~]+$/);
  assert.deepEqual(JSON.parse(json), value);
});

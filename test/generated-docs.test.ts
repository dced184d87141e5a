import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { generated } from '../scripts/docs.ts';
import { root } from '../scripts/tool.ts';
import { makeProgram } from '../src/cli/program.ts';
import { describeCommands } from '../src/cli/reference.ts';

describe('interfaces.md: references are generated from the code', () => {
  for (const [file, write] of generated) {
    test(`${file} is up to date with scripts/docs.ts`, () => {
      const text = readFileSync(join(root, file), 'utf8').replaceAll('\r\n', '\n');
      assert.ok(text === write(), 'run: node scripts/docs.ts');
    });
  }

  test('every command, argument and option has a description', () => {
    const commands = describeCommands(makeProgram());
    assert.ok(commands.length > 25);
    for (const { name, description, arguments: given, options } of commands) {
      assert.notEqual(description, '', name);
      for (const each of [...given, ...options])
        assert.notEqual(each.description, '', `${name} ${JSON.stringify(each)}`);
    }
  });
});

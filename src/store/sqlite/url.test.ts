import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CloacinaError } from '../../core/error.ts';
import { openStore } from '../open.ts';
import { sqlitePath } from './url.ts';

describe('operating.md, Files: the URL of a SQLite database', () => {
  for (const [url, path, platform] of [
    ['sqlite:./app.db', './app.db'],
    ['sqlite:/var/lib/app.db', '/var/lib/app.db'],
    ['sqlite:app.db', 'app.db'],
    ["sqlite:../a b/it's #1 50%.db", "../a b/it's #1 50%.db"],
    ['sqlite:feature%2Fone/app.db', 'feature%2Fone/app.db'],
    ['sqlite:///var/app.db', '/var/app.db'],
    ['sqlite:////var/app.db', '//var/app.db'],
    ['sqlite://./app.db', './app.db'],
    ['sqlite://../app.db', '../app.db'],
    ['sqlite:./~/$HOME.db', './~/$HOME.db'],
    ['sqlite::memory:', ':memory:'],
    ['sqlite:C:\\data\\app.db', 'C:\\data\\app.db', 'win32'],
    ['sqlite:C:/data/app.db', 'C:/data/app.db', 'win32'],
    ['sqlite:///C:/data/app.db', 'C:/data/app.db', 'win32'],
    ['sqlite:.\\app.db', '.\\app.db', 'win32'],
  ] as const) {
    it(`the path of ${url} is ${path}`, () => assert.equal(sqlitePath(url, platform ?? 'linux'), path));
  }

  for (const [url, reason, platform] of [
    ['', /it has no scheme/],
    ['app.db', /it has no scheme/],
    ['"sqlite:./app.db"', /it begins or ends with a quotation mark/],
    [' sqlite:./app.db', /it begins or ends with white space/],
    ['SQLITE:./app.db', /the scheme 'SQLITE:' must be in lower case/],
    ['Postgres://h/db', /the scheme 'Postgres:' must be in lower case/],
    ['mysql://x', /the scheme 'mysql:' is not known/],
    ['sqlite3:./app.db', /the scheme 'sqlite3:' is not known/],
    ['file:./app.db', /the scheme 'file:' is not known/],
    ['app:password@h/db', /it has no scheme/],
    ['sqlite:', /it names no file/],
    ['sqlite://', /it names no file/],
    ['sqlite:./data/', /it names a folder/],
    ['sqlite:///', /it names a folder/],
    ['sqlite://app.db', /a name right after '\/\/' is that of a host.*sqlite:\.\/app\.db.*sqlite:\/\/\/app\.db/],
    ['sqlite://data/app.db', /a name right after '\/\/' is that of a host/],
    ['sqlite://tutorial.db?mode=rwc&_journal_mode=WAL', /parameters after '\?' are not supported/],
    ['sqlite:./m.db?busy_timeout=5000', /parameters after '\?' are not supported/],
    ['sqlite::memory:?cache=shared', /parameters after '\?' are not supported/],
    ['sqlite://:memory:', /a database in memory is written sqlite::memory:/],
    ['sqlite:///:memory:', /a database in memory is written sqlite::memory:/],
    ['sqlite::MEMORY:', /a database in memory is written sqlite::memory:/],
    ['sqlite:memory:', /a database in memory is written sqlite::memory:/],
    ['sqlite:~/q.db', /'~' is expanded by a shell only/],
    ['sqlite:~ada/q.db', /'~' is expanded by a shell only/],
    ['sqlite:///~/q.db', /'~' is expanded by a shell only/],
    ['sqlite:$HOME/r.db', /'\$HOME' is expanded by a shell only/],
    ['sqlite:${HOME}/r.db', /'\$\{HOME\}' is expanded by a shell only/],
    ['sqlite:%APPDATA%\\r.db', /'%APPDATA%' is expanded by a shell only/, 'win32'],
    ['sqlite:file:s.db', /a path does not begin with 'file:'/],
    ['sqlite:file:///srv/s.db', /a path does not begin with 'file:'/],
    ['sqlite:"./app.db"', /it begins or ends with a quotation mark/],
    ["sqlite:'./app.db'", /it begins or ends with a quotation mark/],
    ['sqlite: ./app.db', /it begins or ends with white space/],
    ['sqlite:./app.db\n', /it begins or ends with white space/],
    ['sqlite:./a\0.db', /it contains a control character/],
    ['sqlite:./a\nb.db', /it contains a control character/],
    ['sqlite:C:\\data\\u.db', /a drive letter names a place on Windows only/],
    ['sqlite:///C:/data/u.db', /a drive letter names a place on Windows only/],
    ['sqlite:.\\data\\u.db', /a path is written with '\/' here/],
    ['sqlite:\\data\\u.db', /a path is written with '\/' here/],
  ] as const) {
    it(`the URL ${JSON.stringify(url)} is refused with its reason`, () => {
      assert.throws(
        () => sqlitePath(url, platform ?? 'linux'),
        (error: unknown) => {
          assert.ok(error instanceof CloacinaError);
          assert.equal(error.code, 'DATABASE_URL_INVALID');
          assert.match(error.message, reason);
          assert.match(error.message, /use sqlite:\.\/path\/to\/file\.db, sqlite::memory: or postgres:\/\//);
          return true;
        },
      );
    });
  }

  it('a refused URL shows neither a password nor parameters', () => {
    for (const url of ['sqlite://ada:secret@h/app.db', 'sqlite:./app.db?key=secret', 'mysql://ada:secret@h/db']) {
      assert.throws(
        () => sqlitePath(url),
        (error: Error) => !error.message.includes('secret'),
      );
    }
  });

  it('a refused URL makes no file', async () => {
    await assert.rejects(openStore('sqlite:file:never-made.db?mode=memory'), { code: 'DATABASE_URL_INVALID' });
  });
});

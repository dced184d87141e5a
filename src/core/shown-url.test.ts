import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { shownUrl } from './shown-url.ts';

describe('a URL as it is shown', () => {
  for (const [url, shown] of [
    ['postgres://ada:secret@db:5432/work', 'postgres://db:5432/work'],
    ['postgresql://ada@srv:secret@db/work?schema=flows&sslmode=require', 'postgresql://db/work?schema=flows'],
    ['postgres://ada:secret@one:5432,two:5433/work', 'postgres://one:5432,two:5433/work'],
    ['postgres:///work?host=/run/postgresql&port=5433', 'postgres:///work?host=/run/postgresql&port=5433'],
    ['postgres://ada:secret@/work?host=/cloudsql/a:b:c', 'postgres:///work?host=/cloudsql/a:b:c'],
    ['postgres://ada:secret@/work', 'postgres:///work'],
    ['postgres://ada:secret@:5433/work', 'postgres://…'],
    ['postgres://h/work?p%61ssword=secret&pass%77ord=secret#secret', 'postgres://h/work'],
    ['https://key:secret@example.org/packages?signature=secret', 'https://example.org/packages'],
    ['postgres://ada:a@secret/x@h/work', 'postgres://…'],
    ['postgres://ada:secret@h:port/work', 'postgres://…'],
    ['postgres:ada:secret', 'postgres:…'],
    ['ada:secret@h/work', '…'],
    ['//ada:secret@h/work', '…'],
    ['host=h password=secret', '…'],
    ['sqlite:./app.db', 'sqlite:./app.db'],
    ['sqlite::memory:', 'sqlite::memory:'],
    ['sqlite:///var/app.db', 'sqlite:///var/app.db'],
    ['sqlite:C:\\data\\app.db', 'sqlite:C:\\data\\app.db'],
    ['sqlite:./app.db?key=secret', 'sqlite:./app.db?…'],
    ['sqlite://ada:secret@h/app.db', 'sqlite://h/app.db'],
    ['file:./packages', 'file:./packages'],
    ['file:///srv/packages', 'file:///srv/packages'],
    ['file://ada:secret@h/packages', 'file://…'],
    ['./app.db', './app.db'],
    ['', ''],
  ] as const) {
    test(`${url} is ${shown}`, () => assert.equal(shownUrl(url), shown));
  }
});

import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import { Client } from 'pg';
import { CloacinaError } from '../../core/error.ts';
import { release, tempFolder } from '../../testing/engine-rig.ts';
import type { Cleanup } from '../../testing/engine-rig.ts';
import { testPostgres } from '../../testing/postgres-server.ts';
import { TcpProxy } from '../../testing/tcp-proxy.ts';
import { openStore } from '../open.ts';

const server = await testPostgres();

const patient = { patienceMs: 20_000 };

/** The error of an opening that gives up long before its patience ends. */
async function failure(url: string): Promise<CloacinaError> {
  const begun = performance.now();
  const error = await openStore(url, patient).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof CloacinaError, String(error));
  assert.ok(performance.now() - begun < patient.patienceMs / 2, 'it was repeated');
  return error;
}

/** A self-signed certificate of `db.test`, valid until 2120. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBWjCCAQGgAwIBAgIBATAKBggqhkjOPQQDAjASMRAwDgYDVQQDDAdkYi50ZXN0
MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjASMRAwDgYDVQQDDAdk
Yi50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEerusN6kMAEkV+8qWYApi
GGsBnNwqWIKMP6XqBUV+GOdgQbR4ezKpIGg7VkdWPSH0bsf6uHkD72D0gD8x+zSb
UaNGMEQwEgYDVR0RBAswCYIHZGIudGVzdDAPBgNVHRMBAf8EBTADAQH/MB0GA1Ud
DgQWBBQdPx59wh5Ie+jE2fPK/bzwBRGBiTAKBggqhkjOPQQDAgNHADBEAiABwzVL
+tYOaOyrK9yHnKHHocFXl9Ii6AcUn4yrOLsS9gIgZwjLBt6mj3J5KIRVABVZIB5u
M1G518y5tR31Nlp0TMQ=
-----END CERTIFICATE-----
`;
const key = createPrivateKey({
  key: Buffer.from(
    'MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgH+epS0YtmTRnhDEfGFK/lAOttJwRWHpDoa/KuRBy/C6hRANCAAR6u6w3qQwASRX7ypZgCmIYawGc3CpYgow/peoFRX4Y52BBtHh7MqkgaDtWR1Y9IfRux/q4eQPvYPSAPzH7NJtR',
    'base64',
  ),
  format: 'der',
  type: 'pkcs8',
}).export({ format: 'pem', type: 'pkcs8' });

/** The port of a server that answers the request for TLS and shows the certificate above. */
async function tlsServer(t: Cleanup): Promise<number> {
  const listener = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write('S');
      new TLSSocket(socket, { isServer: true, key, cert: certificate }).on('error', () => socket.destroy());
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  release(t, () => void listener.close());
  return (listener.address() as AddressInfo).port;
}

describe('postgresql.md, URL: an opening that cannot succeed fails at once', () => {
  it('a file of the URL that cannot be read is named', async (t) => {
    const file = join(tempFolder(t), 'none.pem');
    for (const name of ['sslrootcert', 'sslcert', 'sslkey']) {
      const { code, message } = await failure(`postgres://127.0.0.1:1/db?sslmode=verify-full&${name}=${file}`);
      assert.equal(code, 'STORE_UNAVAILABLE');
      assert.ok(message.includes(file) && message.includes('a file that the URL names cannot be read'), message);
    }
  });

  it('a host that no name server knows is named', async (t) => {
    const known = await lookup('nowhere.invalid').catch((error: unknown) => Reflect.get(error as object, 'code'));
    if (known !== 'ENOTFOUND') return t.skip('no name server answers here');
    for (const hosts of ['nowhere.invalid', 'nowhere.invalid,elsewhere.invalid']) {
      const { code, message } = await failure(`postgres://app:secret@${hosts}/db`);
      assert.equal(code, 'STORE_UNAVAILABLE');
      assert.match(message, /could not be opened: getaddrinfo ENOTFOUND .*\.invalid; no host has this name/);
      assert.match(message, /percent-encode special characters in the password/);
    }
  });

  it('a certificate that is not trusted, or that is of another host, is refused', async (t) => {
    const port = await tlsServer(t);
    const file = join(tempFolder(t), 'ca.pem');
    writeFileSync(file, certificate);
    for (const parameter of ['sslmode=require', `sslmode=verify-full&sslrootcert=${file}`]) {
      const { code, message } = await failure(`postgres://app@127.0.0.1:${port}/db?${parameter}`);
      assert.equal(code, 'STORE_UNAVAILABLE');
      assert.match(message, /could not be opened: .*; the certificate of the server is not accepted/);
    }
  });

  it('a port out of range is refused with a code', async () => {
    const { code } = await failure('postgres://app@127.0.0.1/db?port=70000');
    assert.equal(code, 'STORE_UNAVAILABLE');
  });

  if (typeof server === 'string') {
    it('the tests have a server', (t) => t.skip(server));
    return;
  }
  after(() => server.stop());
  const place = new URL(server.url);
  const through = (hosts: string): string => server.url.replace(`${place.host}/`, `${hosts}/`);

  it('a server without TLS is named where the URL asks for TLS', async (t) => {
    const client = new Client(server.url);
    await client.connect();
    const { rows } = await client.query<{ ssl: string }>('show ssl');
    await client.end();
    if (rows[0]!.ssl === 'on') return t.skip('the server has TLS');
    const { code, message } = await failure(`${server.url}?sslmode=require`);
    assert.equal(code, 'STORE_UNAVAILABLE');
    assert.match(message, /the server has no TLS: leave sslmode out of the URL, or turn TLS on at the server/);
  });

  it('an opening waits for a server that does not answer yet', async (t) => {
    const proxy = await TcpProxy.open(() => Number(place.port));
    release(t, () => proxy.close());
    proxy.refuse();
    const opening = openStore(through(`127.0.0.1:${proxy.port}`), patient);
    await setTimeout(50);
    proxy.pass();
    await (await opening).close();
  });

  it('an opening waits for one host of several where the others cannot answer', async (t) => {
    const proxy = await TcpProxy.open(() => Number(place.port));
    release(t, () => proxy.close());
    proxy.refuse();
    const opening = openStore(through(`nowhere.invalid,127.0.0.1:${proxy.port}`), patient);
    await setTimeout(50);
    proxy.pass();
    await (await opening).close();
  });
});

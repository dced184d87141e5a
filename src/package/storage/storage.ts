/** One package as it is stored. */
export interface StoredPackage {
  readonly digest: string;
  /** Of the packed file. */
  readonly bytes: number;
  /** Epoch ms; the grace of a collection counts from here. */
  readonly storedAt: number;
}

/**
 * Where the bytes of packages lie, by the digest of the tar inside (`sha256:` and hex). Nothing here knows names,
 * versions or tenants. Every verb may be repeated, and may run in several processes at once.
 * All throw STORE_UNAVAILABLE where the place cannot be reached, read or written.
 */
export interface PackageStorage {
  /** Absolute: the same place from any folder. */
  readonly url: string;
  /** Durable once it resolves. Bytes that are there are kept; damaged ones are replaced. Throws DIGEST_MISMATCH. */
  put(digest: string, bytes: Uint8Array): Promise<void>;
  /** Checked: throws DIGEST_MISMATCH where the bytes have another digest or are damaged, PACKAGE_NOT_FOUND where there are none. */
  get(digest: string): Promise<Uint8Array>;
  /** Whether there are bytes under this digest; they are not read. */
  has(digest: string): Promise<boolean>;
  /** What is not there is deleted already. */
  delete(digest: string): Promise<void>;
  /** In no order. */
  list(): AsyncIterable<StoredPackage>;
}

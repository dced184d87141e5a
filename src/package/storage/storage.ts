/** One stored package. */
export interface StoredPackage {
  readonly digest: string;
  /** Size of the packed file. */
  readonly bytes: number;
  /** Epoch ms; the grace period of a collection starts here. */
  readonly storedAt: number;
}

/**
 * Stores package files by the digest of the tar inside (`sha256:` and hex). Names, versions and tenants are unknown
 * here. Every method may be repeated, and may run in several processes at once. All throw REGISTRY_UNAVAILABLE if the
 * storage cannot be reached, read or written.
 */
export interface PackageStorage {
  /** Absolute: the same location from any working folder. */
  readonly url: string;
  /**
   * Durable once it resolves. Existing bytes are kept, and it returns false; it returns true if bytes were missing, or were
   * damaged and are replaced. Throws DIGEST_MISMATCH.
   */
  put(digest: string, bytes: Uint8Array): Promise<boolean>;
  /**
   * Checked: throws DIGEST_MISMATCH if the bytes have another digest or are damaged, PACKAGE_BYTES_MISSING if there are
   * none.
   */
  get(digest: string): Promise<Uint8Array>;
  /** Returns true if bytes are stored under this digest, without reading them. */
  has(digest: string): Promise<boolean>;
  /** Does nothing if there are no such bytes. */
  delete(digest: string): Promise<void>;
  /** In no particular order. */
  list(): AsyncIterable<StoredPackage>;
}

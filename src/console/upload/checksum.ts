/**
 * What a part of a file is checked against when it arrives: the value of Upload-Checksum. Undefined where the browser
 * has no digests, which is on pages that came neither over TLS nor from this machine.
 */
export async function checksumOf(part: ArrayBuffer): Promise<string | undefined> {
  const { subtle } = globalThis.crypto as { subtle?: SubtleCrypto };
  if (subtle === undefined) return undefined;
  const digest = new Uint8Array(await subtle.digest('SHA-256', part));
  return `sha256 ${btoa(String.fromCharCode(...digest))}`;
}

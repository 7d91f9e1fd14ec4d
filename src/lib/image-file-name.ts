/** What a file is by its name (without folders); undefined when that does not say. */
export function kindOfFile(fileName: string): 'iso' | 'disk' | 'kernel' | 'initrd' | undefined {
  const name = fileName.toLowerCase();
  if (/\.iso$/.test(name)) return 'iso';
  if (/\.(img|raw|qcow2)$/.test(name)) return 'disk';
  if (/^(vmlinuz|bzimage|vmlinux)/.test(name)) return 'kernel';
  return /^(initrd|initramfs)/.test(name) ? 'initrd' : undefined;
}

/** An image's name made of a file's (without folders). */
export function imageNameOf(fileName: string): string {
  const stem = fileName.replace(/\.(iso|img|raw|qcow2)$/i, '');
  const name = stem.toLowerCase().replace(/[^a-z0-9._-]+/g, '-');
  return name.slice(0, 63).replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, '') || 'image';
}

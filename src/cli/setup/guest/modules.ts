/**
 * Puts kernel modules into an order in which each can be loaded with insmod: what a module needs comes before it.
 * @param wanted names of modules, as modinfo gives them: "virtio_pci"
 * @param find gives a module's .ko file, or undefined when the kernel has it built in or not at all
 * @returns the modules there are, each once
 */
export function loadOrder(
  wanted: readonly string[],
  find: (name: string) => Uint8Array | undefined,
): { name: string; file: Uint8Array }[] {
  const ordered: { name: string; file: Uint8Array }[] = [];
  const seen = new Set<string>();
  const visit = (name: string) => {
    if (seen.has(name)) return;
    seen.add(name);
    const file = find(name);
    if (file === undefined) return;
    for (const dependency of moduleDependencies(file)) visit(dependency);
    ordered.push({ name, file });
  };
  for (const name of wanted) visit(name);
  return ordered;
}

/**
 * The modules that a module says it needs, from the `depends=` line of its .modinfo section.
 * @param file a .ko file
 */
export function moduleDependencies(file: Uint8Array): string[] {
  const text = Buffer.from(file.buffer, file.byteOffset, file.byteLength).toString('latin1');
  const list = /\0depends=([^\0]*)\0/.exec(text)?.[1] ?? '';
  return list.split(',').filter((name) => name !== '');
}

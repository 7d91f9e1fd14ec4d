import type { Vm } from '../../contracts/vms.ts';

type Facts = Pick<Vm, 'id' | 'name' | 'state' | 'image' | 'host' | 'labels'>;

/**
 * Whether a machine is what was searched for. Words are parts of the name, the id, the image, the host or the state;
 * `key=value` and `key=` are labels. All must hold; case does not matter.
 */
export function matches(vm: Facts, search: string): boolean {
  return search
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .every((word) => (word.includes('=') ? hasLabel(vm, word) : hasWord(vm, word)));
}

function hasLabel({ labels }: Facts, word: string): boolean {
  const at = word.indexOf('=');
  const [key, value] = [word.slice(0, at), word.slice(at + 1)];
  return Object.entries(labels).some(
    ([name, text]) => name.toLowerCase() === key && (value === '' || text.toLowerCase() === value),
  );
}

function hasWord(vm: Facts, word: string): boolean {
  return [vm.name, vm.id, vm.state, vm.image ?? '', vm.host ?? '', ...Object.keys(vm.labels)].some((text) =>
    text.toLowerCase().includes(word),
  );
}

import type { CreateVm } from '../../contracts/vms.ts';

/** The form of a new machine, as it is typed. */
export interface CreateForm {
  readonly source: 'image' | 'iso' | 'disk' | 'kernel';
  readonly name: string;
  readonly memoryMiB: string;
  readonly engine: NonNullable<CreateVm['engine']>;
  readonly image: string;
  readonly iso: string;
  readonly diskImage: string;
  /** Of a new empty disk, MiB; empty for none. */
  readonly diskMiB: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly cmdline: string;
  readonly vcpus: string;
  readonly cpu: string;
  readonly diskBus: 'virtio' | 'ide';
  readonly throwAway: boolean;
  readonly restartPolicy: NonNullable<CreateVm['restartPolicy']>;
  readonly labels: string;
  readonly start: boolean;
}

export type CreateProblems = Partial<Record<keyof CreateForm, string>>;

/** Of `MEMORY_MIB` and `MAX_DISKS`' sizes in contracts/vms.ts; a test compares, so that no schema is sent to browsers. */
export const LIMITS = { memoryMiB: [16, 3072], vcpus: [1, 1], diskMiB: [1, 2_097_152] } as const;

const NAME = /^[^\p{Cc}\p{Cs}\p{Z}]([^\p{Cc}\p{Cs}]*[^\p{Cc}\p{Cs}\p{Z}])?$/u;
const LABEL_KEY = /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;

export const emptyForm = (name: string): CreateForm => ({
  source: 'image',
  name,
  memoryMiB: '256',
  engine: 'auto',
  image: '',
  iso: '',
  diskImage: '',
  diskMiB: '',
  kernel: '',
  initrd: '',
  cmdline: 'console=ttyS0',
  vcpus: '1',
  cpu: 'portable',
  diskBus: 'virtio',
  throwAway: false,
  restartPolicy: 'on-failure',
  labels: '',
  start: true,
});

/** What is wrong with the form, by field. */
export function problemsOf(form: CreateForm): CreateProblems {
  const problems: CreateProblems = {};
  const check = (field: keyof CreateForm, problem: string | undefined) => {
    if (problem !== undefined) problems[field] = problem;
  };
  check('name', nameProblem(form.name));
  check('memoryMiB', numberProblem(form.memoryMiB, ...LIMITS.memoryMiB));
  check('vcpus', form.vcpus === '1' ? undefined : 'One is all that machines can have so far.');
  check('labels', parseLabels(form.labels).problem);
  if (form.source === 'image' && form.image === '') check('image', 'Choose what to boot.');
  if (form.source === 'iso' && form.iso === '') check('iso', 'Choose the disc to boot.');
  if (form.source === 'disk' && form.diskImage === '') check('diskImage', 'Choose the disk to boot.');
  if (form.source === 'kernel') {
    if (form.kernel.trim() === '') check('kernel', 'Choose the kernel to boot.');
    if (!/^[\x20-\x7e]{0,2047}$/.test(form.cmdline))
      check('cmdline', 'Printable ASCII, at most 2047 characters.');
  }
  if (form.diskMiB !== '') check('diskMiB', numberProblem(form.diskMiB, ...LIMITS.diskMiB));
  return problems;
}

/** The request that the form makes. Only what differs from the service's defaults is in it. */
export function toCreateVm(form: CreateForm): CreateVm {
  const { source, throwAway, diskBus } = form;
  const bus = diskBus === 'virtio' ? {} : { bus: diskBus };
  const disks = [
    ...(source === 'disk'
      ? [{ image: form.diskImage, ...(throwAway ? { mode: 'throw-away' as const } : {}), ...bus }]
      : []),
    ...(form.diskMiB === '' ? [] : [{ sizeMiB: Number(form.diskMiB), ...bus }]),
  ];
  const labels = parseLabels(form.labels).labels;
  const kernel = {
    kernel: form.kernel.trim(),
    ...(form.initrd.trim() === '' ? {} : { initrd: form.initrd.trim() }),
    ...(form.cmdline === '' ? {} : { cmdline: form.cmdline }),
  };
  return {
    name: form.name,
    memoryMiB: Number(form.memoryMiB),
    ...(source === 'image' ? { image: form.image } : {}),
    ...(source === 'kernel' ? { boot: kernel } : {}),
    ...(source === 'iso' ? { cdrom: { image: form.iso } } : {}),
    ...(disks.length === 0 ? {} : { disks }),
    ...(form.engine === 'auto' ? {} : { engine: form.engine }),
    ...(form.cpu === 'portable' ? {} : { cpu: form.cpu }),
    ...(form.restartPolicy === 'on-failure' ? {} : { restartPolicy: form.restartPolicy }),
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
    ...(form.start ? {} : { start: false }),
  };
}

export function nameProblem(name: string): string | undefined {
  if (name === '') return 'A name is needed.';
  if (name.length > 63) return 'At most 63 characters.';
  return NAME.test(name) ? undefined : 'No spaces at its ends, no control characters.';
}

export function numberProblem(text: string, least: number, most: number): string | undefined {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return undefined;
  return `A whole number from ${least} to ${most}.`;
}

/** Reads `team=red, env=test`. */
export function parseLabels(text: string): { labels: Record<string, string>; problem?: string } {
  const labels: Record<string, string> = {};
  for (const part of text.split(/[,\n]/).map((piece) => piece.trim())) {
    if (part === '') continue;
    const at = part.indexOf('=');
    const [key, value] = at < 0 ? [part, ''] : [part.slice(0, at).trim(), part.slice(at + 1).trim()];
    if (!LABEL_KEY.test(key))
      return { labels, problem: `“${key}” cannot be a label’s name: letters, digits, . _ / -` };
    if (value.length > 255) return { labels, problem: `The value of ${key} is longer than 255 characters.` };
    labels[key] = value;
  }
  return Object.keys(labels).length > 32 ? { labels, problem: 'At most 32 labels.' } : { labels };
}

/** The same request for a shell; the key is left to the reader. */
export function toCurl(origin: string, path: string, body: unknown, tenant?: string): string {
  const quoted = JSON.stringify(body).replaceAll("'", `'\\''`);
  return [
    `curl -X POST ${origin}/v1/${path}`,
    '-H "Authorization: Bearer $KEY"',
    "-H 'Content-Type: application/json'",
    ...(tenant ? [`-H 'Teremok-Tenant: ${tenant.replaceAll("'", `'\\''`)}'`] : []),
    `-d '${quoted}'`,
  ].join(' \\\n  ');
}

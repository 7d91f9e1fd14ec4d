import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { SetupError, say } from '../bootstrap.js';
import { DebianPackages, unpack } from '../debian.ts';
import { locked } from '../lock.ts';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { loadOrder } from './modules.ts';

/** What `image.json` says of an image. */
export interface ImageDescription {
  name: string;
  description: string;
  /** File names beside image.json. */
  kernel: string;
  initrd: string;
  cmdline: string;
  /** Debian packages the image was made from, with their versions. */
  packages: Record<string, string>;
  /** Hexadecimal digests by file name. */
  sha256: Record<string, string>;
  /** Digest of what made the image; another one means that set-up makes it anew. */
  recipe: string;
}

/** Name of the built-in image, and of its folder. */
export const IMAGE_NAME = 'debian-busybox';

/** Which kernel an image has. */
export interface ImageFlavour {
  /** Name of the image, and of its folder. */
  readonly name: string;
  readonly description: string;
  /** Debian's name of the architecture of kernel and BusyBox. */
  readonly architecture: string;
  /** The metapackage of the kernel, and what the name of the package behind it looks like. */
  readonly kernel: string;
  readonly kernelPackage: RegExp;
}

/** The built-in image: 64 bits. */
export const DEBIAN_CLOUD: ImageFlavour = {
  name: IMAGE_NAME,
  description: "Debian's cloud kernel and BusyBox: a shell on the serial console",
  architecture: 'amd64',
  kernel: 'linux-image-cloud-amd64',
  kernelPackage: /^linux-image-\d.*-cloud-amd64$/,
};

/** The same with 32 bits and two-level page tables. */
export const DEBIAN_686: ImageFlavour = {
  name: `${IMAGE_NAME}-686`,
  description: "Debian's 686 kernel, 32 bits without PAE, and BusyBox: a shell on the serial console",
  architecture: 'i386',
  kernel: 'linux-image-686',
  kernelPackage: /^linux-image-\d.*-686$/,
};

/** For a virtual machine's devices; those that the kernel has built in are not loaded. */
const MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio_net',
  'virtio_rng',
  'virtio_console',
  'evdev',
  'psmouse',
  'button',
];

const CMDLINE = 'console=ttyS0 quiet';

const DESCRIPTION = 'image.json';
const here = import.meta.dirname;

/**
 * Makes a guest image: Debian's kernel, unmodified, and an initial RAM file system with Debian's static BusyBox that
 * comes to a shell on the serial console. Nothing needs root.
 * @param directory where vmlinuz, initrd and image.json go; left alone when they are current
 * @param cache folder for Debian's package lists and for the image itself, so that another home gets it at once
 * @param flavour which kernel; by default that of the built-in image
 * @returns the image's description
 * @throws SetupError when Debian's packages cannot be had
 */
export async function buildDebianBusybox(
  directory: string,
  cache: string,
  flavour: ImageFlavour = DEBIAN_CLOUD,
): Promise<ImageDescription> {
  const recipe = await recipeDigest(flavour);
  const present = await readDescription(directory);
  if (present?.recipe === recipe) return present;
  const master = join(cache, 'images', flavour.name);
  const description = await locked(`${master}.lock`, async () => {
    const made = await readDescription(master);
    return made?.recipe === recipe ? made : makeImage(master, cache, recipe, flavour);
  });
  await replaceFolder(directory, async (work) => {
    for (const file of [description.kernel, description.initrd, DESCRIPTION]) {
      // The files are never written again, so two names for one are as good as a copy.
      await link(join(master, file), join(work, file)).catch(() =>
        copyFile(join(master, file), join(work, file)),
      );
    }
  });
  return description;
}

async function makeImage(
  directory: string,
  cache: string,
  recipe: string,
  flavour: ImageFlavour,
): Promise<ImageDescription> {
  if (!(await DebianPackages.available())) {
    throw new SetupError(
      `the image ${flavour.name} is made from Debian's packages, and this machine has no apt-get and dpkg-deb. ` +
        `Copy the folder ${directory} from a machine that has them.`,
    );
  }
  say(`making the guest image ${flavour.name} (${flavour.kernel} and busybox-static)`);
  const work = `${directory}.packages.${process.pid}`;
  try {
    const packages = await fetchPackages(flavour, cache, join(work, 'files'));
    const root = join(work, 'root');
    for (const { file } of packages) await unpack(file, root);
    const kernel = await readFile(await kernelFile(root));
    const initrd = gzipSync(writeCpio(await initrdEntries(root)), { level: 9 });
    const description: ImageDescription = {
      name: flavour.name,
      description: flavour.description,
      kernel: 'vmlinuz',
      initrd: 'initrd',
      cmdline: CMDLINE,
      packages: Object.fromEntries(packages.map(({ name, version }) => [name, version])),
      sha256: { vmlinuz: digest(kernel), initrd: digest(initrd) },
      recipe,
    };
    await replaceFolder(directory, async (image) => {
      await writeFile(join(image, description.kernel), kernel);
      await writeFile(join(image, description.initrd), initrd);
      await writeFile(join(image, DESCRIPTION), `${JSON.stringify(description, null, 2)}\n`);
    });
    return description;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Fills a new folder and puts it in the place of an old one, so that nobody sees it half done. */
async function replaceFolder(directory: string, fill: (work: string) => Promise<void>): Promise<void> {
  const work = `${directory}.new.${process.pid}`;
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  await fill(work);
  await rm(directory, { recursive: true, force: true });
  await rename(work, directory);
}

/** Reads an image's description; undefined when the image is missing or incomplete. */
async function readDescription(directory: string): Promise<ImageDescription | undefined> {
  if (!existsSync(join(directory, 'vmlinuz')) || !existsSync(join(directory, 'initrd'))) return undefined;
  try {
    return JSON.parse(await readFile(join(directory, DESCRIPTION), 'utf8')) as ImageDescription;
  } catch {
    return undefined;
  }
}

/** The digest of everything of ours that decides what the image is like. */
async function recipeDigest(flavour: ImageFlavour): Promise<string> {
  const hash = createHash('sha256').update(flavour.name);
  for (const file of ['cpio.ts', 'debian-busybox.ts', 'init.sh', 'modules.ts']) {
    hash.update(await readFile(join(here, file)));
  }
  return hash.digest('hex');
}

async function fetchPackages(
  { architecture, kernel, kernelPackage }: ImageFlavour,
  cache: string,
  into: string,
) {
  const debian = debianPackages(cache, architecture);
  return debian.fetch([await debian.resolve(kernel, kernelPackage), 'busybox-static'], into);
}

/**
 * Debian's packages for guests: those are PCs, whatever the host is.
 * @param cache folder for package lists
 * @param architecture Debian's name of it
 */
export function debianPackages(cache: string, architecture: string): DebianPackages {
  const own = architecture === 'amd64' && process.arch === 'x64';
  return own
    ? new DebianPackages(join(cache, 'apt'))
    : new DebianPackages(join(cache, `apt-${architecture}`), architecture);
}

async function kernelFile(root: string): Promise<string> {
  const name = (await readdir(join(root, 'boot'))).find((file) => file.startsWith('vmlinuz-'));
  if (name === undefined)
    throw new SetupError("Debian's kernel package holds no kernel; its layout is not known here");
  return join(root, 'boot', name);
}

async function initrdEntries(root: string): Promise<CpioEntry[]> {
  const file = async (path: string, permissions: number, source: string): Promise<CpioEntry> => ({
    type: 'file',
    path,
    permissions,
    data: await readFile(source),
  });
  const text = (path: string, content: string, permissions = 0o644): CpioEntry => ({
    type: 'file',
    path,
    permissions,
    data: Buffer.from(content),
  });
  const folder = (path: string, permissions = 0o755): CpioEntry => ({ type: 'directory', path, permissions });
  const busybox = ['bin/busybox', 'usr/bin/busybox']
    .map((path) => join(root, path))
    .find((path) => existsSync(path));
  if (busybox === undefined)
    throw new SetupError("Debian's busybox-static holds no busybox; its layout is not known here");
  const modules = await kernelModules(root);
  return [
    ...['bin', 'dev', 'etc', 'etc/acpi', 'etc/acpi/PWRF', 'lib', 'lib/modules', 'proc', 'sys'].map((path) =>
      folder(path),
    ),
    folder('root', 0o700),
    folder('tmp', 0o1777),
    // The kernel opens /dev/console for init before anything is mounted.
    { type: 'character', path: 'dev/console', permissions: 0o600, major: 5, minor: 1 },
    { type: 'character', path: 'dev/null', permissions: 0o666, major: 1, minor: 3 },
    { type: 'character', path: 'dev/ttyS0', permissions: 0o660, major: 4, minor: 64 },
    await file('bin/busybox', 0o755, busybox),
    { type: 'link', path: 'bin/sh', target: 'busybox' },
    await file('init', 0o755, join(here, 'init.sh')),
    text('etc/hostname', 'teremok\n'),
    text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n'),
    text('etc/group', 'root:x:0:\ntty:x:5:\n'),
    text('etc/motd', await motd(root)),
    // BusyBox's acpid runs this when the ACPI power button is pressed.
    text('etc/acpi/PWRF/00000080', '#!/bin/sh\nexec poweroff -f\n', 0o755),
    text('lib/modules/order', modules.map(({ name }) => `${name}\n`).join('')),
    ...modules.map(
      ({ name, file: data }): CpioEntry => ({
        type: 'file',
        path: `lib/modules/${name}.ko`,
        permissions: 0o644,
        data,
      }),
    ),
  ];
}

async function motd(root: string): Promise<string> {
  const kernel = basename(await kernelFile(root)).replace('vmlinuz-', '');
  return `Debian's Linux ${kernel} with BusyBox. "poweroff -f" ends the machine.\n`;
}

async function kernelModules(root: string) {
  const trees = [join(root, 'lib/modules'), join(root, 'usr/lib/modules')].filter((path) => existsSync(path));
  const files = new Map<string, string>();
  for (const tree of trees) {
    for (const path of await readdir(tree, { recursive: true })) {
      const match = /([^/]+)\.ko(\.xz)?$/.exec(path);
      if (match !== null) files.set((match[1] as string).replaceAll('-', '_'), join(tree, path));
    }
  }
  return loadOrder(MODULES, (name) => {
    const path = files.get(name);
    return path === undefined ? undefined : readModule(path);
  });
}

/** A module's ELF file; later releases of Debian compress theirs. */
function readModule(path: string): Uint8Array {
  return path.endsWith('.xz')
    ? execFileSync('xz', ['-dc', path], { maxBuffer: 64 << 20 })
    : readFileSync(path);
}

function digest(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

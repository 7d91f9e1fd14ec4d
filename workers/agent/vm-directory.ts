import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { VmExitRecord, VmProcessRecord } from '../../src/contracts/vm-process.ts';
import { parseVmExitRecord, parseVmProcessRecord, VM_FILES } from '../../src/contracts/vm-process.ts';

/** The worker's note of the last press of the power button, so that a new worker does not press again. */
const BUTTON_FILE = 'power-button';

/** Ids come from the database, which the API fills; a directory must still never be elsewhere. */
const VM_ID = /^[A-Za-z0-9_-]{1,80}$/;

/** A VM's directory under TEREMOK_HOME/run/vms: what outlives worker and VM process. */
export class VmDirectory {
  readonly path: string;

  constructor(root: string, vmId: string) {
    if (!VM_ID.test(vmId)) throw new Error(`‘${vmId}’ is not the id of a VM`);
    this.path = join(root, vmId);
  }

  get socketPath(): string {
    return join(this.path, VM_FILES.socket);
  }

  get logPath(): string {
    return join(this.path, VM_FILES.log);
  }

  /** Makes the directory, or clears an earlier launch's files out of it. */
  async prepare(): Promise<void> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    const stale = [VM_FILES.socket, VM_FILES.process, VM_FILES.exit, VM_FILES.console, BUTTON_FILE];
    await Promise.all(stale.map((name) => rm(join(this.path, name), { force: true })));
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  /** Who runs, or ran last; undefined when nobody did or the file is not whole. */
  async readProcess(): Promise<VmProcessRecord | undefined> {
    return this.#read(VM_FILES.process, parseVmProcessRecord);
  }

  /** How a launch ended, as it said itself; undefined when it left no word. */
  async readExit(launchId: string): Promise<VmExitRecord | undefined> {
    const record = await this.#read(VM_FILES.exit, parseVmExitRecord);
    return record?.launchId === launchId ? record : undefined;
  }

  /** The serial line's last bytes as they were saved; nothing when there are none. */
  async readConsole(): Promise<Buffer> {
    try {
      return await readFile(join(this.path, VM_FILES.console));
    } catch {
      return Buffer.alloc(0);
    }
  }

  async readButton(): Promise<string | undefined> {
    return this.#read(BUTTON_FILE, (text) => text);
  }

  async writeButton(requestedAt: string): Promise<void> {
    await writeFile(join(this.path, BUTTON_FILE), requestedAt, { mode: 0o600 });
  }

  async #read<T>(name: string, parse: (text: string) => T): Promise<T | undefined> {
    try {
      return parse(await readFile(join(this.path, name), 'utf8'));
    } catch {
      // Absent, or cut off by a crash: either way there is nothing to go by.
      return undefined;
    }
  }
}

/** The VMs that have a directory. */
export async function listVmDirectories(root: string): Promise<string[]> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  const entries = await readdir(root, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory() && VM_ID.test(entry.name)).map(({ name }) => name);
}

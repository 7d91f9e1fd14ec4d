// Pictures of each page of the console in both schemes, in docs/pictures: `npm run console -- --pictures`; after that
// the sizes may be named, of which `huge` is not made otherwise. It needs a Chromium (CHROMIUM, by default Debian's) and
// a service that runs at PORT with TEREMOK_HOME; what it makes there it deletes again.
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { provideDebianFiles, RESCUE_DISCS } from '../../src/cli/setup/guest/debian-files.ts';

const ORIGIN = `http://127.0.0.1:${process.env.PORT ?? 8080}`;
const HOME = process.env.TEREMOK_HOME ?? resolve('.teremok');
const FOLDER = resolve(process.env.TEREMOK_PICTURES ?? 'docs/pictures');

/** For what a page waits for. Milliseconds. */
const PATIENCE_MS = 120_000;
const SIZES = {
  wide: { width: 1280, height: 820 },
  phone: { width: 360, height: 740 },
  huge: { width: 2560, height: 1440 },
} as const;
const USUAL = ['wide', 'phone'];

const MACHINES = [
  { name: 'web-front', memoryMiB: 128, labels: { team: 'red', env: 'live' } },
  { name: 'builder', memoryMiB: 256, labels: { team: 'blue' }, start: false },
  { name: 'archive', memoryMiB: 64, labels: { team: 'red' }, start: false },
  { name: 'scratch', memoryMiB: 64, start: false },
] as const;
/** A machine with a screen: GRUB from its disc, with a disk beside it. */
const RESCUE = {
  name: 'rescue',
  memoryMiB: 64,
  cdrom: { image: 'grub-rescue' },
  disks: [{ sizeMiB: 512 }, { image: 'template' }],
  labels: { team: 'blue' },
};
/** From the reset vector to what is to be seen, on a machine that has others to do. */
const BOOT_SECONDS = 300;
const DISK_BYTES = 8 * 1024 * 1024;

const key = async (name: string): Promise<string> => {
  const path = join(HOME, `${name}.key`);
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    throw new Error(`no key in ${path}: the pictures are of a service that runs, so \`npm start\` first`, {
      cause: error,
    });
  }
};

async function call<T>(method: string, path: string, token: string, body?: unknown): Promise<T> {
  const answer = await fetch(`${ORIGIN}/v1/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

/** Stores an image, and waits until a worker has found it good. */
async function upload(name: string, kind: string, content: Uint8Array<ArrayBuffer>, token: string) {
  const answer = await fetch(`${ORIGIN}/v1/images?name=${name}&kind=${kind}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    body: content,
  });
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${await answer.text()}`);
  const { id } = (await answer.json()) as { id: string };
  for (;;) {
    const { state } = await call<{ state: string }>('GET', `images/${id}`, token);
    if (state === 'ready') return id;
    if (state === 'unusable') throw new Error(`${name} is found unusable`);
    await delay(200);
  }
}

/** Takes one picture, and says so when something is wider than the page. */
async function picture(page: Page, name: string): Promise<void> {
  // In words, since these types are Node's.
  const tooWide = await page.evaluate<number>(
    'document.documentElement.scrollWidth - document.documentElement.clientWidth',
  );
  if (tooWide > 0) process.stdout.write(`${name}: ${tooWide} pixels too wide\n`);
  await page.screenshot({ path: join(FOLDER, `${name}.png`), animations: 'disabled' });
}

async function signIn(page: Page, token: string): Promise<void> {
  await page.goto(ORIGIN);
  await page.getByLabel('API key').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Machines', exact: true }).waitFor();
}

const go = (page: Page, path: string) => page.evaluate(`location.hash = ${JSON.stringify(path)}`);

async function pagesOf(
  context: BrowserContext,
  suffix: string,
  vmId: string,
  rescueId: string,
): Promise<void> {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on('console', (message) => {
    // Before somebody has signed in, asking who it is answers 401.
    if (message.type() === 'error' && !message.text().includes('401'))
      process.stdout.write(`${suffix}: ${message.text()}\n`);
  });
  page.on('pageerror', (error) => process.stdout.write(`${suffix}: ${error.message}\n`));
  await page.goto(ORIGIN);
  await page.getByLabel('API key').waitFor();
  await picture(page, `sign-in-${suffix}`);
  await signIn(page, await key('default'));
  await page.getByRole('link', { name: 'web-front' }).waitFor();
  await picture(page, `machines-${suffix}`);
  await go(page, '/new');
  await page.getByText('"image":"debian-busybox"').waitFor();
  await picture(page, `create-${suffix}`);
  await go(page, `/machines/${vmId}`);
  await page.getByText('live', { exact: true }).waitFor();
  await page.locator('.xterm-rows', { hasText: '~ #' }).waitFor();
  await page.waitForTimeout(1500); // the terminal draws, and the plots get a second reading
  await picture(page, `machine-${suffix}`);
  await page.evaluate('scrollTo(0, document.body.scrollHeight)');
  await picture(page, `machine-below-${suffix}`);
  await go(page, `/machines/${rescueId}`);
  await page.locator('.display canvas').waitFor();
  await page.getByText('live', { exact: true }).waitFor();
  await page.waitForTimeout(1500); // the first picture comes
  await picture(page, `screen-${suffix}`);
  // Side by side there is no room for on a phone.
  if (!suffix.startsWith('phone')) {
    await page.getByRole('radio', { name: 'Both' }).check();
    await page.locator('.xterm-rows').waitFor();
    await page.waitForTimeout(1000);
    await picture(page, `screen-both-${suffix}`);
  }
  await go(page, '/images');
  await page.getByRole('cell', { name: 'debian-busybox' }).first().waitFor();
  await picture(page, `images-${suffix}`);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key').waitFor();
  await signIn(page, await key('operator'));
  for (const name of ['tenants', 'hosts', 'keys'] as const) {
    await go(page, `/${name}`);
    await page.locator(name === 'keys' ? 'table.list' : '.tiles').waitFor();
    await picture(page, `${name}-${suffix}`);
  }
  await page.close();
}

await mkdir(FOLDER, { recursive: true });
const token = await key('default');
const made: string[] = [];
const images: string[] = [];
const sizes = process.argv.length > 2 ? process.argv.slice(2) : USUAL;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
try {
  for (const machine of MACHINES) {
    const { vm } = await call<{ vm: { id: string } }>('POST', 'vms', token, {
      image: 'debian-busybox',
      ...machine,
    });
    made.push(vm.id);
  }
  const discs = await provideDebianFiles(RESCUE_DISCS, cacheDirectory());
  const disc = new Uint8Array(await readFile(join(discs, 'grub-rescue.iso')));
  images.push(await upload('grub-rescue', 'iso', disc, token));
  images.push(await upload('template', 'disk', new Uint8Array(DISK_BYTES), token));
  const { vm: rescue } = await call<{ vm: { id: string } }>('POST', 'vms', token, RESCUE);
  made.push(rescue.id);
  const [first = ''] = made;
  for (const [id, on, pattern] of [
    [first, 'serial', '~ #'],
    [rescue.id, 'screen', 'GNU/Linux'],
  ]) {
    await call('POST', `vms/${id}/expect`, token, { on, pattern, timeoutSeconds: BOOT_SECONDS });
  }
  // A key holds GRUB in its menu.
  for (const keys of [['down'], ['up']])
    await call('POST', `vms/${rescue.id}/input`, token, { type: 'keys', keys });
  for (const scheme of ['light', 'dark'] as const) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      if (!sizes.includes(size)) continue;
      const context = await browser.newContext({
        viewport,
        colorScheme: scheme,
        isMobile: size === 'phone',
      });
      await pagesOf(context, `${size}-${scheme}`, first, rescue.id);
      await context.close();
    }
  }
} finally {
  await browser.close();
  for (const id of made) {
    const { operation } = await call<{ operation: { id: string } }>('DELETE', `vms/${id}?force=true`, token);
    await call('GET', `operations/${operation.id}/wait?timeout=120`, token);
  }
  for (const id of images) await call('DELETE', `images/${id}`, token);
}

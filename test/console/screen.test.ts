// From a disc on the user's machine to a guest's screen in the browser.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { provideDebianFiles, RESCUE_DISCS } from '../../src/cli/setup/guest/debian-files.ts';
import { writeIso } from '../support/iso.ts';
import { decodePng } from '../support/png.ts';
import { axeFindings, ConsoleRig, go } from './console-rig.ts';
import { colours, differences, ScreenView, within } from './screen-view.ts';

/** For what waits for a guest on a machine that is busy with other tests. Milliseconds. */
const PATIENCE_MS = 120_000;
/** What the page sends in one request: upload/uploads.ts. */
const PART_BYTES = 4 * 1024 * 1024;

describe('discs and screens in the web console', { timeout: 600_000 }, () => {
  let rig: ConsoleRig;
  let key: string;
  let page: Page;
  let disc: string;
  let view: ScreenView;

  before(async () => {
    disc = join(await provideDebianFiles(RESCUE_DISCS, cacheDirectory()), 'grub-rescue.iso');
    rig = await ConsoleRig.start();
    key = await rig.key('default');
    page = await rig.openAs(key);
    page.setDefaultTimeout(PATIENCE_MS / 2);
  });
  after(async () => {
    await rig?.close();
  });

  const row = (name: string) => page.getByRole('row').filter({ hasText: name });
  const screen = () => page.getByRole('region', { name: 'Screen' });
  const imageOf = async (name: string) => {
    const { items } = (await rig.call('GET', 'images', key)) as { items: { name: string; sha256: string }[] };
    return items.find((image) => image.name === name);
  };

  it('goes on with an upload that a reload has cut off, from what had arrived', async () => {
    const content = await readFile(disc);
    assert.ok(content.length > PART_BYTES && content.length < 2 * PART_BYTES, 'the disc takes two requests');
    const offsets: (string | undefined)[] = [];
    page.on('request', (request) => {
      if (request.method() === 'PATCH') offsets.push(request.headers()['upload-offset']);
    });
    await go(page, '/images');
    // The second part does not get through, as when a network goes away.
    await page.route('**/v1/uploads/*', (route) =>
      route.request().headers()['upload-offset'] === String(PART_BYTES) ? undefined : route.continue(),
    );
    await page.getByLabel('File to upload').setInputFiles(disc);
    await page.getByLabel('Name', { exact: true }).fill('grub');
    assert.equal(await page.getByLabel('It is').inputValue(), 'iso');
    assert.deepEqual(await axeFindings(page), []);
    const second = page.waitForRequest(
      (request) => request.headers()['upload-offset'] === String(PART_BYTES),
    );
    await page.getByRole('dialog').getByRole('button', { name: 'Upload' }).click();
    await second;
    const uploads = page.getByRole('region', { name: 'Uploads' });
    await uploads.getByText('4 MiB of 4.8 MiB').waitFor();

    await page.reload();
    await page.unroute('**/v1/uploads/*');
    await uploads.getByText('broke off at 4 MiB: choose grub-rescue.iso again to go on').waitFor();
    assert.equal(await imageOf('grub'), undefined);
    await page.getByLabel('File to upload').setInputFiles(disc);
    await row('grub').getByText('disc').waitFor();
    await uploads.waitFor({ state: 'detached' });
    assert.deepEqual(offsets, ['0', String(PART_BYTES), String(PART_BYTES)]);
    assert.equal((await imageOf('grub'))?.sha256, createHash('sha256').update(content).digest('hex'));
  });

  it('pauses an upload, goes on with it, and gives one up', async () => {
    const [small, large] = [writeIso('SMALL', {}), Buffer.alloc(PART_BYTES + 1)];
    let sent = 0;
    await page.route('**/v1/uploads/*', (route) => {
      if (route.request().method() === 'PATCH' && sent++ === 0) return;
      void route.continue();
    });
    const begin = async (name: string, buffer: Uint8Array) => {
      const file = { name: `${name}.iso`, mimeType: 'application/x-cd-image', buffer: Buffer.from(buffer) };
      await page.getByLabel('File to upload').setInputFiles(file);
      await page.getByRole('dialog').getByRole('button', { name: 'Upload' }).click();
    };
    await begin('small', small);
    await page.getByRole('button', { name: 'Pause small' }).click();
    await page.getByText(/^paused, 0 B of/).waitFor();
    assert.equal(await imageOf('small'), undefined);
    await page.getByRole('button', { name: 'Go on with small' }).click();
    await row('small').waitFor();
    sent = 0;
    await begin('large', large);
    await page.getByRole('button', { name: 'Give large up' }).click();
    await page.getByRole('region', { name: 'Uploads' }).waitFor({ state: 'detached' });
    await page.unroute('**/v1/uploads/*');
    const { items } = (await rig.call('GET', 'uploads', key)) as { items: { name: string }[] };
    assert.ok(!items.some(({ name }) => name === 'large'), 'the upload that was given up is still there');
  });

  it('takes a disc that is dropped, and deletes it once its name was typed', async () => {
    // A File can be made in the page alone; in words, since these types are Node's.
    const base64 = Buffer.from(writeIso('DROPPED', {})).toString('base64');
    await page.evaluate(`{
      const data = new DataTransfer();
      const bytes = Uint8Array.from(atob('${base64}'), (char) => char.charCodeAt(0));
      data.items.add(new File([bytes], 'dropped.iso'));
      document.querySelector('.drop').dispatchEvent(
        new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
    }`);
    await page.getByRole('dialog').getByRole('button', { name: 'Upload' }).click();
    await row('dropped').waitFor();
    await page.getByRole('button', { name: 'Delete dropped' }).click();
    const remove = page.getByRole('button', { name: 'Delete it' });
    await page.getByLabel('Type dropped to go on').fill('drop');
    assert.equal(await remove.isDisabled(), true);
    await page.getByLabel('Type dropped to go on').fill('dropped');
    await remove.click();
    await page.getByText('dropped is gone').waitFor();
    await row('dropped').waitFor({ state: 'detached' });
    assert.equal(await imageOf('dropped'), undefined);
  });

  it('makes a machine of the disc, and SeaBIOS draws on its screen', async () => {
    await row('grub').getByText('being looked into').waitFor({ state: 'detached' });
    await go(page, '/new');
    await page.getByLabel('Name', { exact: true }).fill('rescue');
    await page.getByRole('radio', { name: 'Disc (ISO)' }).check();
    await page.getByLabel('Disc', { exact: true }).selectOption('grub');
    await page.getByLabel('Memory').fill('128');
    await page.getByRole('button', { name: 'Create and start' }).click();
    await page.getByRole('heading', { name: 'rescue', exact: true }).waitFor();
    view = new ScreenView(rig, page, key, new URL(page.url()).hash.split('/').at(-1) ?? '');
    await screen().getByText('live', { exact: true }).waitFor();
    // Held still, it can be compared.
    await within(PATIENCE_MS, async () => /SeaBIOS/.test(await view.text().catch(() => '')));
    await page.getByRole('button', { name: 'Pause', exact: true }).click();
    await page.getByText('paused', { exact: true }).first().waitFor();
    assert.match(await view.text(), /^SeaBIOS \(version/m);
    assert.ok(colours(await view.agrees(PATIENCE_MS)) > 1, 'there is nothing on the screen');
    assert.deepEqual(await axeFindings(page), []);
    await page.getByRole('button', { name: 'Resume', exact: true }).click();
  });

  it('shows GRUB, which hears the keys that are pressed in it', async () => {
    await view.shows(/^ │\*GNU\/Linux /m, PATIENCE_MS);
    const canvas = page.locator('.display canvas');
    await canvas.click();
    await page.keyboard.press('ArrowDown');
    await view.shows(/^ │\*GNU \(aka GNU\/Hurd\)/m, PATIENCE_MS);
    const menu = await view.agrees(PATIENCE_MS);
    await page.keyboard.press('c');
    await view.shows(/^grub> ?$/m, PATIENCE_MS);
    const prompt = await view.agrees(PATIENCE_MS);
    assert.ok(differences(menu, prompt) > 1000, 'the canvas has not followed from the menu to the prompt');
    await page.keyboard.type('echo ');
    await page.keyboard.press('Shift+KeyT');
    await page.keyboard.type('yped-by-hand');
    await page.keyboard.press('Enter');
    await view.shows(/^Typed-by-hand$/m, PATIENCE_MS);
  });

  it('types a text that was pasted', async () => {
    await page.getByRole('button', { name: 'Type a text' }).click();
    await page.getByRole('textbox', { name: 'Text' }).fill("echo 'Pasted: A_z @#%~'\n");
    await page.getByRole('button', { name: 'Type', exact: true }).click();
    await view.shows(/^Pasted: A_z @#%~$/m, PATIENCE_MS);
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.locator('.display canvas').click();
    await page.keyboard.type('clear');
    await page.keyboard.press('Enter');
    await view.shows(/^\s*grub>\s*$/, PATIENCE_MS);
  });

  it('gives a screenshot, the same as the canvas', async () => {
    await page.keyboard.type('echo for the picture');
    await page.keyboard.press('Enter');
    await view.shows(/^for the picture$/m, PATIENCE_MS);
    const shown = await view.agrees(PATIENCE_MS);
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Screenshot' }).click(),
    ]);
    assert.equal(file.suggestedFilename(), 'rescue.png');
    const picture = decodePng(await readFile(await file.path()));
    assert.deepEqual([picture.width, picture.height], [shown.width, shown.height]);
    assert.ok(colours(picture) > 1);
    // A cursor blinks at the prompt: 16 rows of 8 or 9 dots, less than that of difference.
    assert.ok(differences(picture, shown) <= 9 * 16, `${differences(picture, shown)} pixels differ`);
  });

  it('stops it and deletes it once its name was typed', async () => {
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByText('stopped', { exact: true }).first().waitFor();
    await screen().getByText('not running', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Delete…' }).click();
    const remove = page.getByRole('button', { name: 'Delete it' });
    assert.equal(await remove.isDisabled(), true);
    await page.getByLabel('Type rescue to go on').fill('rescue');
    await remove.click();
    await page.getByRole('heading', { name: 'Machines', exact: true }).waitFor();
    await page.getByRole('link', { name: 'rescue', exact: true }).waitFor({ state: 'detached' });
    const { items } = (await rig.call('GET', 'vms', key)) as { items: { name: string }[] };
    assert.ok(
      !items.some(({ name }) => name === 'rescue'),
      'it is gone from the page and not from the service',
    );
  });

  it('did nothing that its policy forbids, and asked no other server', () => {
    assert.deepEqual(rig.offences, []);
  });
});

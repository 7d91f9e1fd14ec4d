import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { FIRMWARE, provideDebianFiles } from '../../src/cli/setup/guest/debian-files.ts';
import { bootDisc } from '../firmware/boot-sector.ts';
import { mouseSector } from '../firmware/mouse-sector.ts';
import { axeFindings, ConsoleRig, go } from './console-rig.ts';

/** For what waits for a guest on a machine that is busy with other tests. Milliseconds. */
const PATIENCE_MS = 90_000;

describe('screen and serial line in the web console', { timeout: 600_000 }, () => {
  let rig: ConsoleRig;
  let key: string;
  let page: Page;
  let machineId: string;

  before(async () => {
    await provideDebianFiles(FIRMWARE, cacheDirectory());
    rig = await ConsoleRig.start();
    key = await rig.key('default');
    page = await rig.openAs(key);
    page.setDefaultTimeout(PATIENCE_MS);
  });
  after(async () => {
    await rig?.close();
  });

  const call = async <T>(method: string, path: string, body?: unknown): Promise<T> =>
    (await rig.call(method, path, key, body)) as T;

  /** Takes a file as an image, and waits until it may be used. */
  const upload = async (name: string, kind: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> => {
    const answer = await fetch(`${rig.origin}/v1/images?name=${name}&kind=${kind}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/octet-stream' },
      body: bytes,
    });
    assert.equal(answer.status, 201, await answer.text());
    for (;;) {
      const { items } = await call<{ items: { state: string }[] }>('GET', `images?name=${name}`);
      if (items[0]?.state === 'ready') return;
      assert.equal(items[0]?.state, 'checking');
      await page.waitForTimeout(100);
    }
  };

  /** Makes a machine and opens its page, with its screen. */
  const openMachine = async (name: string, body: object, says: string): Promise<string> => {
    const { vm } = await call<{ vm: { id: string } }>('POST', 'vms', { name, memoryMiB: 32, ...body });
    await expectOn(vm.id, says);
    await go(page, `/machines/${vm.id}`);
    await screen().getByText('live', { exact: true }).waitFor();
    return vm.id;
  };

  const screen = () => page.getByRole('region', { name: 'Screen', exact: true });
  const expectOn = (id: string, pattern: string) =>
    call('POST', `vms/${id}/expect`, { on: 'screen', pattern, timeoutSeconds: 240 });
  const textOf = async (id: string): Promise<string> => {
    const { lines } = await call<{ lines: string[] }>('GET', `vms/${id}/screen/text`);
    // A line goes on in the next row.
    return lines.join('');
  };

  const openPaste = async (text: string, layout: string): Promise<void> => {
    await screen().getByRole('button', { name: 'Type a text' }).click();
    await page.getByLabel('Text', { exact: true }).fill(text);
    await page.getByLabel('The guest’s keyboard layout').selectOption(layout);
    await page.getByRole('button', { name: 'Type', exact: true }).click();
  };
  const paste = async (text: string, layout: string): Promise<void> => {
    await openPaste(text, layout);
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  };
  const until = async (holds: () => Promise<boolean>): Promise<void> => {
    for (const deadline = Date.now() + PATIENCE_MS; !(await holds()); ) {
      assert.ok(Date.now() < deadline, 'it did not come to pass');
      await page.waitForTimeout(50);
    }
  };

  it('types on a guest, pastes by the layout that the guest has, and presses combinations of keys', async () => {
    await upload('echo', 'iso', bootDisc('says:'));
    const id = await openMachine('echo', { cdrom: { image: 'echo' } }, '^says:');
    machineId = id;
    await screen().locator('canvas').focus();
    await page.keyboard.press('Shift+KeyA');
    await page.keyboard.type('b1');
    await expectOn(id, '^says:Ab1$');
    // The guest's BIOS has the American layout: on the keys of the German one y and z have changed places.
    await paste('yz', 'de');
    await expectOn(id, '^says:Ab1zy$');
    // One goes on by hand.
    await page.keyboard.type('q');
    await expectOn(id, '^says:Ab1zyq$');
    // More than one request types.
    await paste(`${'o'.repeat(250)}!`, 'us');
    await expectOn(id, '^o+!$');
    assert.match(await textOf(id), /says:Ab1zyqo{250}!$/);
    await screen().getByLabel('Press keys').selectOption('Ctrl + Alt + Delete');
    await expectOn(id, '^says:$');
    // What cannot be typed is told, and stays.
    await openPaste('ж', 'us');
    await page.getByRole('dialog').getByText('cannot type "ж"', { exact: false }).waitFor();
    assert.equal(await page.getByLabel('Text', { exact: true }).inputValue(), 'ж');
    await page.getByLabel('The guest’s keyboard layout').selectOption('ru');
    await page.getByRole('button', { name: 'Type', exact: true }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    // The Russian zhe is where the American layout has a semicolon; and the choice is remembered.
    await expectOn(id, '^says:;$');
    await screen().getByRole('button', { name: 'Type a text' }).click();
    assert.equal(await page.getByLabel('The guest’s keyboard layout').inputValue(), 'ru');
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.equal(await page.evaluate('document.activeElement.localName'), 'canvas');
  });

  it('lets the keyboard out', async () => {
    await screen().locator('canvas').focus();
    await page.keyboard.press('Control+Shift+F6');
    await page.waitForFunction('document.activeElement.matches("select, button")');
    assert.equal(await page.evaluate('document.activeElement.getAttribute("aria-label")'), 'Press keys');
    // Nothing stays held: what is typed next is small.
    await screen().locator('canvas').focus();
    await page.keyboard.type('k');
    await expectOn(machineId, '^says:;k$');
  });

  it('shows what its drives have moved, and that it has no network', async () => {
    const figures = page.getByRole('region', { name: 'The last hour' });
    await figures.getByText('CD-ROM').waitFor();
    // The disc's descriptors and its boot sector, by the firmware, more than once.
    await figures.getByText(/^\d[\d.]* KiB read, 0 B written$/).waitFor();
    await figures.getByRole('img', { name: /^Read from drives: / }).waitFor();
    await figures.getByText('There is no network device', { exact: false }).waitFor();
    assert.equal(await figures.getByRole('img').count(), 4);
  });

  it('is photographed, scaled, beside the serial console, and as large as the display', async () => {
    const saved = page.waitForEvent('download');
    await screen().getByRole('button', { name: 'Screenshot' }).click();
    const file = await saved;
    assert.equal(file.suggestedFilename(), 'echo.png');
    assert.equal((await readFile(await file.path())).subarray(1, 4).toString(), 'PNG');

    const width = () =>
      page.evaluate<number>('document.querySelector(".display canvas").getBoundingClientRect().width');
    const fitted = await width();
    await screen().getByRole('button', { name: 'Fitted' }).click();
    assert.equal(await width(), 720);
    assert.notEqual(fitted, 720);
    await screen().getByRole('button', { name: '1 : 1' }).click();
    assert.equal(await width(), fitted);

    await page.getByRole('radio', { name: 'Both' }).check();
    const serial = page.getByRole('region', { name: 'Serial console' });
    await serial.getByText('live', { exact: true }).waitFor();
    const [left, right] = [await screen().boundingBox(), await serial.boundingBox()];
    assert.ok(left && right && left.x + left.width <= right.x && left.y === right.y, 'side by side');
    await page.getByRole('radio', { name: 'Screen' }).check();

    await page.getByRole('button', { name: 'Full screen' }).click();
    await page.waitForFunction('document.fullscreenElement !== null');
    const full = await screen().boundingBox();
    assert.ok(full && left && full.height > left.height, 'larger than on the page');
    await page.evaluate('document.exitFullscreen()');
    await page.waitForFunction('document.fullscreenElement === null');
  });

  it('gives the mouse to a guest that knows movements alone, and takes it back', async () => {
    const disk = new Uint8Array(1 << 20);
    disk.set(mouseSector());
    await upload('mouse', 'disk', disk);
    const id = await openMachine('mouse', { disks: [{ image: 'mouse', bus: 'ide' }] }, '^mouse');
    await screen().getByRole('button', { name: 'Fitted' }).click();
    await screen().getByRole('button', { name: 'Give the mouse to the machine' }).click();
    const note = screen().getByText('The mouse is the machine’s now. Esc takes it back.');
    await note.waitFor();
    assert.equal(await page.evaluate('document.pointerLockElement.tagName'), 'CANVAS');
    /** Moves as often as it takes: the first goes before the server has said what the guest takes. */
    const movesAs = async (dx: number, dy: number, packet: string) => {
      for (let n = 0; !(await textOf(id)).includes(packet); n++) {
        assert.ok(n < 100, `no ${packet}: ${await textOf(id)}`);
        await page.mouse.move(500 + dx * (n % 2), 500 + dy * (n % 2));
        await page.waitForTimeout(50);
      }
    };
    // To the right and down; what the mouse tells has up as positive.
    await movesAs(10, 6, '[280AFA]');
    // Beyond any edge of the screen, which positions would stop at.
    for (const [x, packet] of [
      [500, /./],
      [1500, /\[08FF00\]/],
      [2500, /(\[08FF00\].*){2}/],
    ] as const) {
      await page.mouse.move(x, 500);
      await until(async () => packet.test(await textOf(id)));
    }
    await page.mouse.down();
    await until(async () => (await textOf(id)).includes('[090000]'));
    await page.mouse.up();
    await until(async () => (await textOf(id)).endsWith('[080000]'));

    await page.keyboard.press('Escape');
    await note.waitFor({ state: 'detached' });
    assert.equal(await page.evaluate('document.pointerLockElement'), null);
    // As before, by where it is.
    await movesAs(4, 3, '[2804FD]');
  });

  it('is for looking at alone with a key that may only read, and for nobody once that is revoked', async () => {
    const operator = await rig.key('operator');
    const tenants = (await rig.call('GET', 'tenants', operator)) as { items: { id: string; name: string }[] };
    const tenant = tenants.items.find(({ name }) => name === 'default');
    const made = await rig.call('POST', `tenants/${tenant?.id}/keys`, operator, { scopes: ['read'] });
    const reader = await rig.openAs((made as { key: string }).key);
    reader.setDefaultTimeout(PATIENCE_MS);
    await reader.getByRole('link', { name: 'echo', exact: true }).click();
    const seen = reader.getByRole('region', { name: 'Screen', exact: true });
    await seen.getByText('live', { exact: true }).waitFor();
    await seen.getByRole('button', { name: 'Screenshot' }).waitFor();
    assert.equal(await seen.getByLabel('Press keys').count(), 0);
    assert.equal(await seen.getByRole('button', { name: /^Type a text|^Give the mouse/ }).count(), 0);
    const { id: keyId } = made as { id: string };
    await rig.call('DELETE', `tenants/${tenant?.id}/keys/${keyId}`, operator);
    await reader.getByText('The key was revoked or has expired. Sign in again.').waitFor();
    assert.equal(await seen.count(), 0);
    await reader.context().close();
  });

  it('has a serial console that is searched, copied, saved, enlarged and read aloud', async () => {
    const body = { name: 'shell', image: 'debian-busybox', memoryMiB: 256 };
    const { vm } = await call<{ vm: { id: string } }>('POST', 'vms', body);
    await call('POST', `vms/${vm.id}/expect`, { on: 'serial', pattern: '~ # ', timeoutSeconds: 240 });
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await go(page, `/machines/${vm.id}`);
    const serial = page.getByRole('region', { name: 'Serial console' });
    await serial.getByText('live', { exact: true }).waitFor();
    await serial.locator('.xterm-rows').getByText('~ #').first().waitFor();

    await serial.getByRole('button', { name: 'Search' }).click();
    await serial.getByLabel('Search the console').fill('BusyBox');
    assert.equal(await serial.getByText('not found').count(), 0);
    await serial.getByRole('button', { name: 'Copy the selection, or all' }).click();
    await page.getByText('The text copied').waitFor();
    assert.equal(await page.evaluate('navigator.clipboard.readText()'), 'BusyBox');
    await serial.getByLabel('Search the console').fill('no such words');
    await serial.getByText('not found').waitFor();
    await page.keyboard.press('Escape');

    const saved = page.waitForEvent('download');
    await serial.getByRole('button', { name: 'Download as text' }).click();
    const file = await saved;
    assert.equal(file.suggestedFilename(), 'shell-serial.txt');
    assert.match(await readFile(await file.path(), 'utf8'), /BusyBox v[\s\S]*~ #/);

    const height = async () => (await serial.locator('.xterm-rows > div').first().boundingBox())?.height ?? 0;
    const before = await height();
    await serial.getByRole('button', { name: 'Larger text' }).click();
    assert.ok((await height()) > before);

    assert.equal(await serial.locator('.live-region').count(), 0);
    await serial.getByRole('button', { name: 'Tell screen readers what it shows' }).click();
    await serial.locator('.live-region').waitFor({ state: 'attached' });
    await page.getByRole('textbox', { name: 'Serial console of shell' }).focus();
    await page.keyboard.type('echo a$((40 + 2))z');
    await page.keyboard.press('Enter');
    await serial.locator('.live-region').getByText('a42z').waitFor({ state: 'attached' });
    await page.keyboard.press('Control+Shift+F6');
    await page.waitForFunction('document.activeElement.getAttribute("aria-label") === "Search"');
    assert.deepEqual(await axeFindings(page), []);
  });

  it('did nothing that its policy forbids, and asked no other server', () => {
    assert.deepEqual(rig.offences, []);
  });
});

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page, Response } from 'playwright-core';
import { axeFindings, ConsoleRig, excessWidth, go } from './console-rig.ts';

/** The most that a page may load as script before a console is opened, as it comes over the wire. Bytes. */
const MOST_SCRIPT_BYTES = 300 * 1024;
/** For what waits for a guest on a machine that is busy with other tests. Milliseconds. */
const PATIENCE_MS = 90_000;

/** Of each page: where it is, and what is there once it has come. */
const PAGES: Readonly<Record<string, (page: Page) => Promise<void>>> = {
  '/machines': (page) => page.getByRole('link', { name: 'first', exact: true }).waitFor(),
  '/new': (page) => page.getByLabel('Name', { exact: true }).waitFor(),
  '/images': (page) => page.getByText('debian-busybox').first().waitFor(),
};
const OPERATORS_PAGES: typeof PAGES = {
  '/tenants': (page) => page.getByText('default').first().waitFor(),
  '/hosts': (page) => page.getByText('translate').first().waitFor(),
  '/keys': (page) => page.getByRole('table').first().waitFor(),
};

describe('the web console', { timeout: 600_000 }, () => {
  let rig: ConsoleRig;
  let page: Page;
  let machineUrl: string;

  before(async () => {
    rig = await ConsoleRig.start();
  });
  after(async () => {
    await rig?.close();
  });

  const serial = () => page.getByRole('region', { name: 'Serial console' });
  const type = async (text: string) => {
    await page.getByRole('textbox', { name: /^Serial console of/ }).focus();
    await page.keyboard.type(text);
    await page.keyboard.press('Enter');
  };
  const shows = (words: string) =>
    serial().locator('.xterm-rows').getByText(words).first().waitFor({ timeout: PATIENCE_MS });

  it('is small before a console is opened', async () => {
    page = await rig.open();
    page.setDefaultTimeout(PATIENCE_MS);
    const scripts: Response[] = [];
    page.on('response', (answer) => {
      if (answer.request().resourceType() === 'script') scripts.push(answer);
    });
    await page.goto(rig.origin);
    await page.getByLabel('API key').waitFor();
    const sizes = await Promise.all(scripts.map((answer) => answer.request().sizes()));
    const bytes = sizes.reduce((sum, { responseBodySize }) => sum + responseBodySize, 0);
    assert.ok(bytes > 0 && bytes < MOST_SCRIPT_BYTES, `${bytes} bytes of script`);
    assert.deepEqual(await axeFindings(page), []);
  });

  it('lets in with a key, and nobody without', async () => {
    await page.getByLabel('API key').fill('tk_wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText(/not a key/).waitFor();
    await page.getByLabel('API key').fill(await rig.key('default'));
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'Machines', exact: true }).waitFor();
    const [cookie] = await page.context().cookies();
    assert.equal(cookie?.httpOnly, true);
    assert.equal(cookie?.sameSite, 'Strict');
    await page.reload();
    await page.getByRole('heading', { name: 'Machines', exact: true }).waitFor();
  });

  it('makes a machine of the built-in image, and its shell answers', async () => {
    await page.getByRole('link', { name: 'New machine' }).first().click();
    await page.getByLabel('Name', { exact: true }).fill('first');
    // What the form will ask for is shown, the image of its own choice included.
    await page.getByText('"name":"first","memoryMiB":256,"image":"debian-busybox"').waitFor();
    await page.getByRole('button', { name: 'Create and start' }).click();
    await page.getByRole('heading', { name: 'first', exact: true }).waitFor();
    machineUrl = page.url();
    await shows('~ #');
    await type('echo $((6 * 7))-is-the-answer');
    await shows('42-is-the-answer');
  });

  it('comes back by itself when the server was killed', async () => {
    await rig.killApi();
    await page.getByText('The server does not answer.', { exact: false }).waitFor();
    await rig.startApi();
    await page.getByText('The server does not answer.', { exact: false }).waitFor({ state: 'detached' });
    await serial().getByText('live', { exact: true }).waitFor();
    await type('echo $((9 * 9))-and-back');
    await shows('81-and-back');
    assert.equal(page.url(), machineUrl);
  });

  it('shows a key that may only read what there is, and offers nothing else', async () => {
    const operator = await rig.key('operator');
    const tenants = (await rig.call('GET', 'tenants', operator)) as { items: { id: string; name: string }[] };
    const tenant = tenants.items.find(({ name }) => name === 'default');
    const made = await rig.call('POST', `tenants/${tenant?.id}/keys`, operator, { scopes: ['read'] });
    const reader = await rig.openAs((made as { key: string }).key);
    reader.setDefaultTimeout(PATIENCE_MS);
    assert.equal(await reader.getByRole('link', { name: 'New machine' }).count(), 0);
    await reader.getByRole('link', { name: 'first', exact: true }).click();
    await reader.getByRole('heading', { name: 'first', exact: true }).waitFor();
    await reader.locator('.xterm-rows').getByText('81-and-back').first().waitFor();
    assert.equal(
      await reader.getByRole('button', { name: /^(start|stop|shut|reset|pause|delete)/i }).count(),
      0,
    );
    await reader.locator('.xterm').click();
    await reader.keyboard.type('echo in$((1 + 1))truder\n');
    await type('echo $((7 * 7))-after');
    await shows('49-after');
    assert.doesNotMatch((await serial().locator('.xterm-rows').textContent()) ?? '', /in2truder/);
    await reader.context().close();
  });

  it('makes a tenant and its key, revokes the key and deletes the tenant', async () => {
    const operator = await rig.openAs(await rig.key('operator'));
    operator.setDefaultTimeout(PATIENCE_MS);
    const dialog = operator.getByRole('dialog');
    await go(operator, '/tenants');
    await operator.getByRole('button', { name: 'New tenant' }).click();
    await operator.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    // The focus comes back a moment after the dialog is gone.
    await operator.locator('button:focus', { hasText: /^\s*New tenant\s*$/ }).waitFor();
    await operator.keyboard.press('Enter');
    await dialog.getByLabel('Name', { exact: true }).fill('guild');
    await dialog.getByLabel('Machines, at most').fill('7');
    await dialog.getByRole('button', { name: 'Make it' }).click();
    const tile = operator.getByRole('region', { name: 'guild' });
    await tile.getByText('0 of 7').waitFor();

    await tile.getByRole('link', { name: 'Keys' }).click();
    await operator.getByRole('heading', { name: 'Keys of guild' }).waitFor();
    await operator.getByRole('button', { name: 'New key' }).click();
    await dialog.getByLabel('Name', { exact: true }).fill('smith');
    await dialog.getByRole('button', { name: 'Make it' }).click();
    const key = (await dialog.locator('.secret').textContent()) ?? '';
    const { items } = (await rig.call('GET', 'vms', key)) as { items: unknown[] };
    assert.deepEqual(items, []);
    await dialog.getByRole('button', { name: 'I have it' }).click();
    assert.equal(await operator.getByText(key).count(), 0);

    await operator.getByRole('button', { name: 'Revoke smith' }).click();
    await dialog.getByLabel('Type smith to go on').fill('smith');
    await dialog.getByRole('button', { name: 'Revoke it' }).click();
    await operator.getByText('revoked', { exact: true }).waitFor();
    await assert.rejects(rig.call('GET', 'vms', key), /401/);

    await operator.getByRole('link', { name: 'To the tenants' }).click();
    await operator.getByRole('button', { name: 'Delete guild' }).click();
    const remove = dialog.getByRole('button', { name: 'Delete it' });
    assert.equal(await remove.isDisabled(), true);
    await dialog.getByLabel('Type guild to go on').fill('guild');
    await remove.click();
    await tile.waitFor({ state: 'detached' });
    await operator.context().close();
  });

  it('fits a phone, in both schemes, and has no barriers on any page', async () => {
    const findings: string[] = [];
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const viewport of [
        { width: 360, height: 740 },
        { width: 1280, height: 800 },
      ]) {
        for (const [owner, pages] of [
          ['default', PAGES],
          ['operator', OPERATORS_PAGES],
        ] as const) {
          const visitor = await rig.openAs(await rig.key(owner), { viewport, colorScheme });
          visitor.setDefaultTimeout(PATIENCE_MS);
          const machine = new URL(machineUrl).hash.slice(1);
          const places = owner === 'default' ? [...Object.keys(pages), machine] : Object.keys(pages);
          for (const place of places) {
            await go(visitor, place);
            await (pages[place] ?? isLive)(visitor);
            const where = `${place} ${colorScheme} ${viewport.width}`;
            const excess = await excessWidth(visitor);
            if (excess > 0) findings.push(`${where}: ${excess} pixels too wide`);
            for (const finding of await axeFindings(visitor)) findings.push(`${where}: ${finding}`);
          }
          await visitor.context().close();
        }
      }
    }
    assert.deepEqual(findings, []);
  });

  it('stops the machine and deletes it once its name was typed', async () => {
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByText('stopped', { exact: true }).first().waitFor();
    await page.getByRole('button', { name: 'Delete…' }).click();
    await page.getByLabel('Type first to go on').fill('first');
    await page.getByRole('button', { name: 'Delete it' }).click();
    await page.getByRole('heading', { name: /This machine is gone|^Machines$/ }).waitFor();
    await go(page, '/machines');
    await page.getByRole('link', { name: 'first', exact: true }).waitFor({ state: 'detached' });
  });

  it('signs out', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('API key').waitFor();
    assert.deepEqual(await page.context().cookies(), []);
  });

  it('did nothing that its policy forbids, and asked no other server', () => {
    assert.deepEqual(rig.offences, []);
  });
});

const isLive = (page: Page) => page.getByText('live', { exact: true }).first().waitFor();

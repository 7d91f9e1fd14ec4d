import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Page, Route } from 'playwright-core';
import { bootDisc } from '../firmware/boot-sector.ts';
import { ConsoleRig, go } from './console-rig.ts';

/** For what waits for others on a machine that is busy with other tests. Milliseconds. */
const PATIENCE_MS = 60_000;
/** What the page sends in one request: upload/uploads.ts. */
const PART_BYTES = 4 * 1024 * 1024;
/** Of the tenant, in the end. */
const QUOTAS = { imageMiB: 512, diskMiB: 800 };

describe('uploads that go wrong in the web console', { timeout: 300_000 }, () => {
  let rig: ConsoleRig;
  let key: string;
  let page: Page;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'teremok-uploads-'));
    rig = await ConsoleRig.start();
    key = await rig.key('default');
    page = await rig.openAs(key);
    page.setDefaultTimeout(PATIENCE_MS);
    await go(page, '/images');
  });
  after(async () => {
    await rig?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const fileOf = async (name: string, bytes: Uint8Array): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, bytes);
    return path;
  };
  const choose = async (path: string): Promise<void> => {
    await page.getByLabel('File to upload').setInputFiles(path);
    await page.getByRole('dialog').getByRole('button', { name: 'Upload', exact: true }).click();
  };
  const row = (name: string) => page.getByRole('row').filter({ hasText: name });
  const uploads = () => page.getByRole('region', { name: 'Uploads' });

  it('sends a part again that arrived damaged', async () => {
    const bytes = Buffer.alloc(PART_BYTES + 1000, 'a whole disk of this ');
    const answers: number[] = [];
    let damaged = 0;
    await page.route('**/v1/uploads/*', async (route: Route) => {
      const request = route.request();
      if (request.method() !== 'PATCH') return route.continue();
      assert.match(request.headers()['upload-checksum'] ?? '', /^sha256 /);
      const body = Buffer.from(request.postDataBuffer() ?? Buffer.alloc(0));
      if (damaged++ === 1) body[500] = 0;
      const answer = await route.fetch({ postData: body });
      answers.push(answer.status());
      return route.fulfill({ response: answer });
    });
    await choose(await fileOf('whole.img', bytes));
    await row('whole').waitFor();
    await page.unroute('**/v1/uploads/*');
    assert.deepEqual(answers, [200, 422, 200]);
    const { items } = (await rig.call('GET', 'images?name=whole', key)) as { items: { sha256: string }[] };
    assert.equal(items[0]?.sha256, createHash('sha256').update(bytes).digest('hex'));
  });

  it('says that a file was changed while it was sent', async () => {
    const path = await fileOf('changing.img', Buffer.alloc(2 * PART_BYTES, 'x'));
    await page.route('**/v1/uploads/*', async (route: Route) => {
      if (route.request().method() === 'PATCH') await appendFile(path, 'more');
      return route.continue();
    });
    await choose(path);
    await uploads().getByText('changing.img was changed, or cannot be read any more.').waitFor();
    await page.unroute('**/v1/uploads/*');
    await page.getByRole('button', { name: 'Give changing up' }).click();
    await uploads().waitFor({ state: 'detached' });
    const { items } = (await rig.call('GET', 'uploads', key)) as { items: { name: string }[] };
    assert.equal(
      items.find(({ name }) => name === 'changing'),
      undefined,
    );
  });

  it('says that a file is more than the quota has room for, before anything is sent', async () => {
    const operator = await rig.key('operator');
    const tenants = (await rig.call('GET', 'tenants', operator)) as { items: { id: string; name: string }[] };
    const tenant = tenants.items.find(({ name }) => name === 'default');
    await rig.call('PATCH', `tenants/${tenant?.id}`, operator, { quotas: { imageMiB: 5 } });
    await choose(await fileOf('large.img', Buffer.alloc(2 * 1024 * 1024)));
    await page
      .getByRole('dialog')
      .getByText('that are left of the tenant’s quota', { exact: false })
      .waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await rig.call('PATCH', `tenants/${tenant?.id}`, operator, { quotas: QUOTAS });
  });

  it('shows what is wrong with a disc that is cut off, and what uses one that is whole', async () => {
    const disc = bootDisc('says:');
    const cut = bootDisc('says:');
    // The size of its volume (ECMA-119 § 8.4): a thousand blocks of 2048 bytes, of which 32 are there.
    const volume = new DataView(cut.buffer, 16 * 2048);
    volume.setUint32(80, 1000, true);
    volume.setUint16(128, 2048, true);
    await choose(await fileOf('cut.iso', cut));
    await row('cut').getByText('it ends early: 65536 of 2048000 bytes are there', { exact: false }).waitFor();
    await choose(await fileOf('good.iso', disc));
    await row('good').getByText('disc', { exact: true }).waitFor();
    await row('good').getByText('being looked into…').waitFor({ state: 'detached' });
    const body = {
      name: 'user',
      memoryMiB: 32,
      cdrom: { image: 'good' },
      disks: [{ image: 'whole' }, { image: 'whole', mode: 'throw-away' }],
      start: false,
    };
    await rig.call('POST', 'vms', key, body);
    await go(page, '/machines');
    await go(page, '/images');
    await row('good').getByRole('link', { name: 'user' }).waitFor();
    assert.equal(await row('good').locator('.used').textContent(), 'user');
    assert.equal(await row('whole').locator('.used').textContent(), 'user (2 disks)');
    await row('cut').getByText('no machine').waitFor();
    const digest = createHash('sha256').update(disc).digest('hex');
    assert.equal(await row('good').locator('code').textContent(), digest);
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Copy the checksum of good' }).click();
    assert.equal(await page.evaluate('navigator.clipboard.readText()'), digest);
    // What the page says is left is what the service counts.
    const { usage } = (await rig.call('GET', 'usage', key)) as { usage: Record<string, number> };
    const { imageMiB = 0, diskMiB = 0 } = usage;
    assert.ok(imageMiB > 0 && diskMiB > 0);
    const quota = page.getByRole('region', { name: 'Quota' });
    await quota.getByText(`${QUOTAS.imageMiB - imageMiB} MiB left of 512 MiB`).waitFor();
    await quota.getByText(`${QUOTAS.diskMiB - diskMiB} MiB left of 800 MiB`).waitFor();
    await page.getByRole('button', { name: 'Delete good' }).click();
    await page.getByRole('dialog').getByRole('textbox').fill('good');
    await page
      .getByRole('dialog')
      .getByRole('button', { name: /^Delete/ })
      .click();
    await page.getByRole('dialog').getByText('Good is used by user', { exact: false }).waitFor();
  });

  it('did nothing that its policy forbids, and asked no other server', () => {
    assert.deepEqual(rig.offences, []);
  });
});

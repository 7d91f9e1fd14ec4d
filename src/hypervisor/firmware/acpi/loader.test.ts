import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acpiFiles } from './loader.ts';
import { buildAcpi } from './tables.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).replace(/\0.*$/s, '');

/** Does what firmware does with the files: gives each a place, and follows the script. */
function install(places: Readonly<Record<string, number>>): Map<string, Uint8Array> {
  const given = new Map(acpiFiles().map(({ name, data }) => [name, data.slice()]));
  const script = given.get('etc/table-loader') ?? new Uint8Array();
  assert.equal(script.length % 128, 0);
  const allocated = new Map<string, Uint8Array>();
  const file = (name: string): Uint8Array => {
    const found = allocated.get(name);
    assert.ok(found, `${name} is not allocated yet`);
    return found;
  };
  for (let at = 0; at < script.length; at += 128) {
    const entry = script.subarray(at, at + 128);
    const view = new DataView(entry.buffer, entry.byteOffset, 128);
    const name = text(entry.subarray(4, 60));
    const data = given.get(name);
    switch (view.getUint32(0, true)) {
      case 1:
        assert.ok(data);
        assert.equal((places[name] ?? 0) % view.getUint32(60, true), 0);
        allocated.set(name, data);
        break;
      case 2: {
        const bytes = file(name);
        const target = text(entry.subarray(60, 116));
        file(target);
        const place = view.getUint32(116, true);
        const field = new DataView(bytes.buffer);
        const add = places[target] ?? 0;
        if (entry[120] === 8) field.setBigUint64(place, field.getBigUint64(place, true) + BigInt(add), true);
        else field.setUint32(place, field.getUint32(place, true) + add, true);
        break;
      }
      case 3: {
        const bytes = file(name);
        const [place = 0, start = 0, length = 0] = [60, 64, 68].map((o) => view.getUint32(o, true));
        const sum = bytes.subarray(start, start + length).reduce((n, byte) => n + byte, 0);
        bytes[place] = ((bytes[place] ?? 0) - sum) & 0xff;
        break;
      }
      default:
        assert.fail(`command ${view.getUint32(0, true)}`);
    }
  }
  return allocated;
}

test('the script makes of the files what the machine would have put into memory itself', () => {
  const places = { 'etc/acpi/rsdp': 0xf_5a00, 'etc/acpi/tables': 0x3ff_0000 };
  const files = install(places);
  const own = buildAcpi({}, places['etc/acpi/tables']);
  const tables = files.get('etc/acpi/tables') ?? new Uint8Array();
  // But for the RSDP, of which that file has a copy that nobody finds.
  assert.deepEqual(tables.subarray(36), own.bytes.subarray(36));
  assert.deepEqual(
    files.get('etc/acpi/rsdp'),
    own.bytes.subarray(own.rsdp - own.base, own.rsdp - own.base + 36),
  );
});

import { connectApi } from '../api.ts';
import type { Command } from '../command.ts';
import { EXIT, UsageError } from '../command.ts';
import { print, printJson } from '../output.ts';
import { textOf } from '../resources.ts';
import { kindOf, nameOf, Progress, uploadFile } from '../upload.ts';

export const imageUpload: Command = {
  name: 'image upload',
  summary: 'Upload a disc, a disk, a kernel or an initrd; go on with an upload that broke off.',
  arguments: 'FILE',
  arity: [1, 1],
  options: {
    name: { value: 'NAME', description: 'the image’s name (the file’s, without its ending)' },
    kind: { value: 'KIND', description: 'iso, disk, kernel or initrd (what the file’s name says)' },
    format: { value: 'FORMAT', description: 'of a disk: raw or qcow2 (what the file begins with)' },
  },
  notes:
    'The file is sent in parts and its SHA-256 checked at the end. When the connection or the service goes away,\n' +
    'the command waits and goes on; run again after it was ended, it goes on where it was.',
  async run(invocation) {
    const { options, positionals } = invocation;
    const [path = ''] = positionals;
    const kind = options.oneOf('kind', ['iso', 'disk', 'kernel', 'initrd'] as const) ?? kindOf(path);
    if (kind === undefined)
      throw new UsageError('--kind iso, disk, kernel or initrd is needed: the name does not say');
    const format = options.oneOf('format', ['raw', 'qcow2'] as const);
    if (format !== undefined && kind !== 'disk') throw new UsageError('--format goes with --kind disk');
    const file = { path, name: options.text('name') ?? nameOf(path), kind, format };
    const image = await uploadFile(connectApi(invocation), file, new Progress(process.stderr));
    if (options.has('json')) await printJson(image);
    else await print(`${textOf(image, 'name')} (${textOf(image, 'id')}) is there\n`);
    return EXIT.ok;
  },
};

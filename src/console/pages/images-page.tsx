import { useEffect, useRef, useState } from 'preact/hooks';
import type { Image } from '../../contracts/images.ts';
import type { Tenant } from '../../contracts/tenants.ts';
import type { Upload } from '../../contracts/uploads.ts';
import { imageNameOf, kindOfFile } from '../../lib/image-file-name.ts';
import { request } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { isOperator, mayWrite } from '../state/session.ts';
import { useList, useObject } from '../state/use-loaded.ts';
import { DeleteDialog } from '../ui/delete-dialog.tsx';
import { Dialog, DialogEnd } from '../ui/dialog.tsx';
import { SelectField, TextField } from '../ui/field.tsx';
import { bytes, mebibytes } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';
import { ListTable } from '../ui/list-table.tsx';
import { Loading } from '../ui/loading.tsx';
import { PageTitle } from '../ui/page-title.tsx';
import { Share } from '../ui/share.tsx';
import { toast } from '../ui/toast.tsx';
import { recall, uploadOf } from '../upload/resume.ts';
import { beginUpload, drop, type FileUpload, send, sending } from '../upload/uploads.ts';
import { ImageRow } from './image-row.tsx';

/** How often an image that is looked into is asked about. Milliseconds. */
const CHECK_MS = 1000;

export function ImagesPage() {
  const images = useList<Image>('images');
  const uploads = useList<Upload>('uploads');
  // An operator's images are everybody's, and count against nobody.
  const usage = useObject<Tenant>(isOperator() ? null : 'usage');
  const [announced, setAnnounced] = useState<File | null>(null);
  const [over, setOver] = useState(false);
  const [removing, setRemoving] = useState<Image | null>(null);
  const picker = useRef<HTMLInputElement>(null);
  const checking = images.items?.some(({ state }) => state === 'checking') ?? false;
  const { reload } = images;

  useEffect(() => {
    if (!checking) return;
    const timer = setInterval(() => void reload(), CHECK_MS);
    return () => clearInterval(timer);
  }, [checking, reload]);

  const arrived = (name: string) => {
    toast(`${name} has arrived`);
    void reload();
    void uploads.reload();
  };
  // What is stored or announced counts.
  const stored = images.items?.length;
  const announcedUploads = sending.value.length + (uploads.items?.length ?? 0);
  const reloadUsage = usage.reload;
  useEffect(() => void reloadUsage(), [reloadUsage, stored, announcedUploads]);
  const receive = async (files: FileList | null | undefined) => {
    const file = files?.[0];
    if (file === undefined) return;
    // What is under way may have changed since it was listed.
    const known = uploadOf(file, await uploads.reload(), recall(localStorage));
    if (known === undefined) setAnnounced(file);
    else send(known, file, () => arrived(known.name));
  };
  const active = new Set(sending.value.map(({ upload }) => upload.id));
  const broken = (uploads.items ?? []).filter(
    ({ id, imageId, resumable }) => resumable && imageId === null && !active.has(id),
  );
  const writes = mayWrite();
  return (
    <>
      <PageTitle
        title="Images"
        action={{ icon: 'upload', text: 'Upload', onClick: () => picker.current?.click() }}
      />
      <input
        ref={picker}
        type="file"
        hidden
        aria-label="File to upload"
        onChange={(event) => {
          void receive(event.currentTarget.files);
          event.currentTarget.value = '';
        }}
      />
      {writes ? (
        // biome-ignore lint/a11y/noStaticElementInteractions: dropping is for the mouse; the button above is for all
        <div
          class={`drop${over ? ' over' : ''}`}
          onDragOver={(event) => {
            event.preventDefault();
            setOver(true);
          }}
          onDragLeave={() => setOver(false)}
          onDrop={(event) => {
            event.preventDefault();
            setOver(false);
            void receive(event.dataTransfer?.files);
          }}
        >
          <Icon name="upload" />
          <span>Drop a disc (.iso), a disk (.img, .qcow2), a kernel or an initrd here.</span>
          <small>An upload that broke off goes on when the same file comes again.</small>
        </div>
      ) : null}
      {sending.value.length + broken.length > 0 ? (
        <section class="uploads" aria-label="Uploads">
          {sending.value.map((item) => (
            <Sending key={item.upload.id} item={item} />
          ))}
          {broken.map((upload) => (
            <Broken
              key={upload.id}
              upload={upload}
              onChoose={() => picker.current?.click()}
              onGone={uploads.reload}
            />
          ))}
        </section>
      ) : null}
      {isOperator() ? null : <Left tenant={usage.value} />}
      {images.items === undefined ? (
        <Loading error={images.error} what="images" />
      ) : (
        <ListTable label="Images" columns={COLUMNS}>
          {images.items.map((image) => (
            <ImageRow key={image.id} image={image} onRemove={() => setRemoving(image)} />
          ))}
        </ListTable>
      )}
      {announced === null ? null : (
        <Announce
          file={announced}
          onClose={() => setAnnounced(null)}
          onBegun={(upload) => {
            const file = announced;
            setAnnounced(null);
            send(upload, file, () => arrived(upload.name));
          }}
        />
      )}
      {removing === null ? null : (
        <DeleteDialog
          name={removing.name}
          path={`images/${removing.id}`}
          warning="The image will be gone. One that a machine uses is not deleted."
          onGone={reload}
          onClose={() => setRemoving(null)}
        />
      )}
    </>
  );
}

const COLUMNS = [
  { title: 'Name' },
  { title: 'Kind' },
  { title: 'Size', kind: 'number' },
  { title: 'SHA-256' },
  { title: 'Used by' },
  { title: 'Since', kind: 'optional' },
] as const;

const QUOTAS = [
  ['imageMiB', 'Images and uploads'],
  ['diskMiB', 'Disks of machines'],
] as const;

/** What the tenant's quota has left for images, and for the disks that are made of them. */
function Left({ tenant }: { readonly tenant: Tenant | undefined }) {
  return (
    <section class="quota" aria-label="Quota">
      {QUOTAS.map(([field, text]) => {
        const used = tenant?.usage[field] ?? 0;
        const of = tenant?.quotas[field] ?? 0;
        return (
          <Share
            key={field}
            label={text}
            used={used}
            of={of}
            format={mebibytes}
            text={
              tenant === undefined ? '…' : `${mebibytes(Math.max(0, of - used))} left of ${mebibytes(of)}`
            }
          />
        );
      })}
    </section>
  );
}

function Sending({ item }: { readonly item: FileUpload }) {
  const { state, offset, problem } = item.progress.value;
  const { name, sizeBytes } = item.upload;
  const percent = Math.floor((100 * offset) / sizeBytes);
  const rests = state === 'paused' || state === 'failed';
  const give = async () => {
    drop(item);
    await item.cancel().catch((error) => toast(describe(error), 'problem'));
  };
  return (
    <div class="upload">
      <strong>{name}</strong>
      <progress max={100} value={percent} aria-label={`${name}, sent`} />
      <span class={state === 'failed' ? 'problem' : 'muted'}>
        {state === 'paused' ? 'paused, ' : ''}
        {problem || `${bytes(offset)} of ${bytes(sizeBytes)}`}
      </span>
      <button
        type="button"
        class="quiet icon"
        aria-label={rests ? `Go on with ${name}` : `Pause ${name}`}
        onClick={() => (rests ? item.resume() : item.pause())}
      >
        <Icon name={rests ? 'play' : 'pause'} />
      </button>
      <button type="button" class="quiet icon" aria-label={`Give ${name} up`} onClick={() => void give()}>
        <Icon name="close" />
      </button>
    </div>
  );
}

function Broken(props: {
  readonly upload: Upload;
  readonly onChoose: () => void;
  readonly onGone: () => Promise<unknown>;
}) {
  const { id, name, offset, sizeBytes } = props.upload;
  const file = recall(localStorage)[id];
  const give = async () => {
    await request('DELETE', `uploads/${id}`).catch((error) => toast(describe(error), 'problem'));
    await props.onGone();
  };
  return (
    <div class="upload">
      <strong>{name}</strong>
      <progress max={100} value={Math.floor((100 * offset) / sizeBytes)} aria-label={`${name}, sent`} />
      <span class="muted">
        {file === undefined
          ? `${bytes(offset)} of ${bytes(sizeBytes)}, from elsewhere`
          : `broke off at ${bytes(offset)}: choose ${file.name} again to go on`}
      </span>
      {file === undefined || !mayWrite() ? null : (
        <button type="button" class="quiet" onClick={props.onChoose}>
          Choose…
        </button>
      )}
      {mayWrite() ? (
        <button type="button" class="quiet icon" aria-label={`Give ${name} up`} onClick={() => void give()}>
          <Icon name="close" />
        </button>
      ) : null}
    </div>
  );
}

const IMAGE_NAME = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/;

/** Says what a file is before it is sent. */
function Announce(props: {
  readonly file: File;
  readonly onBegun: (upload: Upload) => void;
  readonly onClose: () => void;
}) {
  const { file } = props;
  const [name, setName] = useState(() => imageNameOf(file.name));
  const [kind, setKind] = useState<Upload['kind']>(() => kindOfFile(file.name) ?? 'disk');
  const [refusal, setRefusal] = useState('');
  const [busy, setBusy] = useState(false);
  const wrong = IMAGE_NAME.test(name)
    ? undefined
    : 'Lower-case letters, digits, dots, dashes and underscores.';
  const begin = async (event: Event) => {
    event.preventDefault();
    if (wrong !== undefined || busy) return;
    setBusy(true);
    try {
      props.onBegun(await beginUpload({ name, kind, sizeBytes: file.size }));
    } catch (error) {
      setRefusal(describe(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title="Upload an image" onClose={props.onClose}>
      <form class="stack" onSubmit={begin} noValidate>
        <p class="muted">
          {file.name}, {bytes(file.size)}
        </p>
        <TextField label="Name" value={name} onInput={setName} problem={wrong} autofocus />
        <SelectField
          label="It is"
          value={kind}
          onInput={(value) => setKind(value as Upload['kind'])}
          options={[
            ['iso', 'a disc for CD-ROM drives'],
            ['disk', 'a disk'],
            ['kernel', 'a kernel'],
            ['initrd', 'an initrd'],
          ]}
        />
        <DialogEnd
          refusal={refusal}
          onCancel={props.onClose}
          submit="Upload"
          disabled={wrong !== undefined || busy || file.size === 0}
        />
      </form>
    </Dialog>
  );
}

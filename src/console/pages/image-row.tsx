import { Fragment } from 'preact';
import type { Image } from '../../contracts/images.ts';
import { isOperator, mayWrite } from '../state/session.ts';
import { copy } from '../ui/copy.ts';
import { bytes, day, moment } from '../ui/format.ts';
import { Icon } from '../ui/icon.tsx';

/** As many machines are named of those that use an image. */
const MOST_NAMED = 6;

const KINDS = { system: 'system', iso: 'disc', disk: 'disk', kernel: 'kernel', initrd: 'initrd' } as const;

/** An image in the list of them. */
export function ImageRow({ image, onRemove }: { readonly image: Image; readonly onRemove: () => void }) {
  const mayRemove = mayWrite() && !image.builtin && (!image.shared || isOperator());
  const named = image.usedBy.slice(0, MOST_NAMED);
  return (
    <tr>
      <td>
        <strong>{image.name}</strong>
        {image.builtin ? (
          <span class="label">built in</span>
        ) : image.shared ? (
          <span class="label">everybody’s</span>
        ) : null}
        {image.state === 'checking' ? <small>being looked into…</small> : null}
        {image.state === 'unusable' ? (
          <small class="problem">{image.problem ?? 'it cannot be used'}</small>
        ) : null}
      </td>
      <td class="nowrap">
        {KINDS[image.kind]}
        {image.format === null ? '' : ` (${image.format})`}
      </td>
      <td class="number">
        {bytes(image.sizeBytes)}
        {image.diskBytes === null || image.diskBytes === image.sizeBytes ? null : (
          <small>{bytes(image.diskBytes)} inside</small>
        )}
      </td>
      <td data-label="SHA-256">
        <span class="checksum">
          <code title={image.sha256}>{image.sha256}</code>
          <button
            type="button"
            class="quiet icon"
            aria-label={`Copy the checksum of ${image.name}`}
            title="Copy"
            onClick={() => void copy(image.sha256, 'The checksum')}
          >
            <Icon name="copy" />
          </button>
        </span>
      </td>
      <td data-label="used by">
        {image.users === 0 ? 'no machine' : null}
        {named.map(({ id, name, disks }) => (
          <Fragment key={id}>
            <span class="used">
              <a href={`#/machines/${id}`}>{name}</a>
              {disks === 0 ? null : ` (${disks} ${disks === 1 ? 'disk' : 'disks'})`}
            </span>{' '}
          </Fragment>
        ))}
        {image.users > named.length ? `and ${image.users - named.length} more` : null}
      </td>
      <td class="optional nowrap">
        <time dateTime={image.createdAt} title={moment(image.createdAt)}>
          {day(image.createdAt)}
        </time>
      </td>
      <td class="do">
        {mayRemove ? (
          <button
            type="button"
            class="quiet icon"
            aria-label={`Delete ${image.name}`}
            title="Delete"
            onClick={onRemove}
          >
            <Icon name="trash" />
          </button>
        ) : null}
      </td>
    </tr>
  );
}

-- Discs and disks as images, uploads that go on where they broke off, and the disks and CD-ROM drives of VMs.

ALTER TABLE tenants ADD COLUMN quota_disk_mib integer NOT NULL DEFAULT 204800 CHECK (quota_disk_mib >= 0);

ALTER TABLE images
  DROP CONSTRAINT images_kind_check,
  ADD CONSTRAINT images_kind_check CHECK (kind IN ('system', 'kernel', 'initrd', 'iso', 'disk')),
  ADD COLUMN media_path text,
  ADD COLUMN format text CHECK (format IN ('raw', 'qcow2')),
  ADD COLUMN disk_bytes bigint CHECK (disk_bytes > 0),
  ADD COLUMN state text NOT NULL DEFAULT 'ready' CHECK (state IN ('checking', 'ready', 'unusable')),
  ADD COLUMN problem text,
  ADD CONSTRAINT images_has_media_check CHECK ((kind IN ('iso', 'disk')) = (media_path IS NOT NULL)),
  ADD CONSTRAINT images_has_format_check CHECK ((kind = 'disk') = (format IS NOT NULL));
CREATE INDEX images_checking_idx ON images (id) WHERE state = 'checking';

-- What is under way counts against the quota with all of size_bytes. received_bytes are on the disk for sure.
CREATE TABLE uploads (
  id text PRIMARY KEY,
  tenant_id text REFERENCES tenants (id) ON DELETE CASCADE,
  name text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('kernel', 'initrd', 'iso', 'disk')),
  format text CHECK (format IN ('raw', 'qcow2')),
  resumable boolean NOT NULL,
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  received_bytes bigint NOT NULL DEFAULT 0 CHECK (received_bytes BETWEEN 0 AND size_bytes),
  sha256 text,
  path text NOT NULL UNIQUE,
  image_id text REFERENCES images (id) ON DELETE CASCADE,
  writer text,
  writer_until timestamptz(3),
  expires_at timestamptz(3) NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX uploads_tenant_id_id_idx ON uploads (tenant_id, id);
CREATE INDEX uploads_expires_at_idx ON uploads (expires_at);
CREATE INDEX uploads_image_id_idx ON uploads (image_id);

ALTER TABLE vms
  ADD COLUMN cdrom boolean NOT NULL DEFAULT false,
  ADD COLUMN cdrom_image_id text REFERENCES images (id) ON DELETE RESTRICT,
  ADD COLUMN cdrom_epoch integer NOT NULL DEFAULT 0,
  ADD COLUMN cdrom_force boolean NOT NULL DEFAULT false,
  ADD COLUMN boot_order text[] NOT NULL DEFAULT '{}',
  ADD CONSTRAINT vms_has_cdrom_check CHECK (cdrom OR cdrom_image_id IS NULL);
CREATE INDEX vms_cdrom_image_id_idx ON vms (cdrom_image_id);

CREATE TABLE vm_disks (
  id text PRIMARY KEY,
  vm_id text NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
  position integer NOT NULL CHECK (position >= 0),
  image_id text REFERENCES images (id) ON DELETE RESTRICT,
  mode text NOT NULL CHECK (mode IN ('overlay', 'throw-away', 'readonly', 'own')),
  bus text NOT NULL CHECK (bus IN ('virtio', 'ide')),
  size_bytes bigint NOT NULL CHECK (size_bytes > 0),
  UNIQUE (vm_id, position),
  CHECK ((mode = 'own') = (image_id IS NULL))
);
CREATE INDEX vm_disks_image_id_idx ON vm_disks (image_id);

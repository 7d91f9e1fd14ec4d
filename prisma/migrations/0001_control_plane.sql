-- Tenants, keys, hosts, images, VMs, operations, events, idempotency.
-- States are text with a CHECK: a new state is one ALTER away and rows stay readable by hand.

CREATE TABLE tenants (
  id text PRIMARY KEY,
  name text NOT NULL UNIQUE,
  quota_vms integer NOT NULL CHECK (quota_vms >= 0),
  quota_memory_mib integer NOT NULL CHECK (quota_memory_mib >= 0),
  quota_image_mib integer NOT NULL CHECK (quota_image_mib >= 0),
  created_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
  id text PRIMARY KEY,
  tenant_id text REFERENCES tenants (id) ON DELETE CASCADE,
  name text NOT NULL,
  role text NOT NULL CHECK (role IN ('operator', 'tenant')),
  scopes text[] NOT NULL,
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3),
  revoked_at timestamptz(3),
  CHECK ((role = 'tenant') = (tenant_id IS NOT NULL))
);
CREATE INDEX api_keys_tenant_id_idx ON api_keys (tenant_id);

-- The CHECKs on the reserved sums are the last line against over-commitment: a scheduler bug becomes a
-- failed transaction, never a host with more memory promised than it has.
CREATE TABLE hosts (
  id text PRIMARY KEY,
  name text NOT NULL UNIQUE,
  state text NOT NULL CHECK (state IN ('up', 'draining', 'down')),
  endpoint text,
  channel_secret text,
  engines text[] NOT NULL,
  memory_mib_total integer NOT NULL CHECK (memory_mib_total >= 0),
  memory_mib_reserved integer NOT NULL DEFAULT 0 CHECK (memory_mib_reserved >= 0),
  vcpus_total integer NOT NULL CHECK (vcpus_total >= 0),
  vcpus_reserved integer NOT NULL DEFAULT 0 CHECK (vcpus_reserved >= 0),
  version text,
  last_heartbeat_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE images (
  id text PRIMARY KEY,
  tenant_id text REFERENCES tenants (id) ON DELETE CASCADE,
  name text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('system', 'kernel', 'initrd')),
  builtin boolean NOT NULL DEFAULT false,
  kernel_path text,
  initrd_path text,
  cmdline text,
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  sha256 text NOT NULL,
  packages jsonb,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (tenant_id, name)
);
CREATE INDEX images_tenant_id_id_idx ON images (tenant_id, id);

CREATE TABLE vms (
  id text PRIMARY KEY,
  tenant_id text NOT NULL REFERENCES tenants (id) ON DELETE RESTRICT,
  name text NOT NULL,
  labels jsonb NOT NULL DEFAULT '{}',
  memory_mib integer NOT NULL CHECK (memory_mib > 0),
  vcpus integer NOT NULL DEFAULT 1 CHECK (vcpus > 0),
  cpu_profile text NOT NULL DEFAULT 'portable',
  engine_requested text NOT NULL DEFAULT 'auto',
  engine_actual text,
  restart_policy text NOT NULL DEFAULT 'on-failure' CHECK (restart_policy IN ('never', 'on-failure', 'always')),
  image_id text REFERENCES images (id) ON DELETE RESTRICT,
  kernel_image_id text REFERENCES images (id) ON DELETE RESTRICT,
  initrd_image_id text REFERENCES images (id) ON DELETE RESTRICT,
  kernel_path text,
  initrd_path text,
  cmdline text,
  desired text NOT NULL CHECK (desired IN ('running', 'paused', 'stopped', 'deleted')),
  generation integer NOT NULL DEFAULT 1,
  boot_epoch integer NOT NULL DEFAULT 0,
  shutdown_requested_at timestamptz(3),
  state text NOT NULL DEFAULT 'stopped'
    CHECK (state IN ('stopped', 'starting', 'running', 'paused', 'stopping', 'failed')),
  observed_generation integer NOT NULL DEFAULT 0,
  observed_boot_epoch integer NOT NULL DEFAULT 0,
  restart_count integer NOT NULL DEFAULT 0,
  next_restart_at timestamptz(3),
  last_error jsonb,
  pid integer,
  started_at timestamptz(3),
  host_id text REFERENCES hosts (id) ON DELETE RESTRICT,
  reserved boolean NOT NULL DEFAULT false CHECK (NOT reserved OR host_id IS NOT NULL),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX vms_tenant_id_id_idx ON vms (tenant_id, id);
CREATE INDEX vms_host_id_idx ON vms (host_id);
CREATE INDEX vms_image_id_idx ON vms (image_id);
CREATE INDEX vms_kernel_image_id_idx ON vms (kernel_image_id);
CREATE INDEX vms_initrd_image_id_idx ON vms (initrd_image_id);

CREATE TABLE operations (
  id text PRIMARY KEY,
  tenant_id text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  vm_id text,
  kind text NOT NULL,
  state text NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
  progress integer NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
  target text NOT NULL CHECK (target IN ('running', 'paused', 'stopped', 'deleted')),
  generation integer NOT NULL,
  error jsonb,
  deadline_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  started_at timestamptz(3),
  finished_at timestamptz(3)
);
CREATE INDEX operations_tenant_id_id_idx ON operations (tenant_id, id);
CREATE INDEX operations_vm_id_state_idx ON operations (vm_id, state);

CREATE TABLE events (
  seq bigserial PRIMARY KEY,
  tenant_id text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  vm_id text,
  type text NOT NULL,
  data jsonb NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX events_tenant_id_seq_idx ON events (tenant_id, seq);
CREATE INDEX events_created_at_idx ON events (created_at);

CREATE TABLE idempotency_keys (
  owner text NOT NULL,
  key text NOT NULL,
  request_hash text NOT NULL,
  status integer,
  headers jsonb,
  answer bytea,
  locked_until timestamptz(3),
  expires_at timestamptz(3) NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at);

CREATE TABLE milestones (
  name text PRIMARY KEY,
  done_at timestamptz(3) NOT NULL DEFAULT now()
);

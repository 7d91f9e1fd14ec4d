-- Browsers that are signed in. Only the SHA-256 of a session's token is kept; a session ends with its key.

CREATE TABLE sessions (
  id text PRIMARY KEY,
  key_id text NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
  token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3) NOT NULL
);
CREATE INDEX sessions_key_id_idx ON sessions (key_id);
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);

-- What happened to one machine, newest first.
CREATE INDEX events_vm_id_seq_idx ON events (vm_id, seq);

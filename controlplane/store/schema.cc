#include <array>

#include "controlplane/store/migrations.h"

namespace ratchet::control {

namespace {

// Columns hold what is searched, compared or counted; `doc` is the whole row as JSON (row_codec.h).
constexpr std::string_view kVersion1 = R"sql(
CREATE TABLE leader (           -- the one process that may write, and its counters
  id INTEGER PRIMARY KEY CHECK (id = 1),
  store_id TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  term INTEGER NOT NULL,
  pid INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  next_event INTEGER NOT NULL,
  next_delivery INTEGER NOT NULL
);

CREATE TABLE tenants (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL
);
INSERT INTO tenants (id, name, created_at) VALUES ('default', 'default', 0);

CREATE TABLE tokens (
  id TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  sha256 TEXT NOT NULL UNIQUE,
  scopes TEXT NOT NULL,
  node_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER
);
CREATE INDEX tokens_tenant ON tokens (tenant, created_at, id);

CREATE TABLE jobs (
  id TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL REFERENCES tenants (id),
  run_id TEXT NOT NULL,
  name TEXT NOT NULL,
  phase TEXT NOT NULL,
  state TEXT NOT NULL,
  live INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  head_artifact TEXT NOT NULL,
  result_artifact TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  ended_at INTEGER,
  pruned INTEGER NOT NULL,
  doc TEXT NOT NULL
);
CREATE INDEX jobs_tenant ON jobs (tenant, created_at, id);
CREATE INDEX jobs_state ON jobs (tenant, state, created_at, id);
CREATE INDEX jobs_created ON jobs (created_at, id);
CREATE INDEX jobs_run ON jobs (run_id, created_at, id);
CREATE INDEX jobs_live ON jobs (live) WHERE live = 1;
CREATE INDEX jobs_prunable ON jobs (ended_at) WHERE live = 0 AND pruned = 0;
CREATE INDEX jobs_results ON jobs (result_artifact) WHERE result_artifact <> '';

CREATE TABLE job_specs (        -- never changes, so it is not written again with each change
  job_id TEXT NOT NULL PRIMARY KEY REFERENCES jobs (id),
  spec_json TEXT NOT NULL,
  inputs_json TEXT NOT NULL
);

CREATE TABLE job_tags (
  tenant TEXT NOT NULL,
  tag TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  job_id TEXT NOT NULL REFERENCES jobs (id),
  PRIMARY KEY (tag, tenant, created_at, job_id)
);

CREATE TABLE attempts (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  attempt_no INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (job_id, attempt_no)
);
CREATE INDEX attempts_open ON attempts (ended) WHERE ended = 0;

CREATE TABLE interruptions (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  number INTEGER NOT NULL,
  waiting INTEGER NOT NULL,     -- 1: provisioning has not begun
  doc TEXT NOT NULL,
  PRIMARY KEY (job_id, number)
);

CREATE TABLE checkpoints (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  step INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  manifest_sha256 TEXT NOT NULL,
  artifact_id TEXT NOT NULL,
  kept INTEGER NOT NULL,        -- 0: discarded or retired
  retired INTEGER NOT NULL,
  doc TEXT NOT NULL,
  PRIMARY KEY (job_id, step, epoch, manifest_sha256)
);
CREATE INDEX checkpoints_kept ON checkpoints (artifact_id) WHERE kept = 1;

CREATE TABLE nodes (
  id TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL REFERENCES tenants (id),
  gone INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  doc TEXT NOT NULL
);
CREATE INDEX nodes_tenant ON nodes (tenant, created_at, id);
CREATE INDEX nodes_here ON nodes (gone) WHERE gone = 0;

CREATE TABLE intents (
  intent_key TEXT NOT NULL PRIMARY KEY,
  done INTEGER NOT NULL,
  doc TEXT NOT NULL
);
CREATE INDEX intents_open ON intents (done) WHERE done = 0;

CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  job_id TEXT REFERENCES jobs (id),
  seq INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  type TEXT NOT NULL,
  attempt_no INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  step INTEGER NOT NULL,
  cause TEXT NOT NULL,
  data_json TEXT NOT NULL,
  time INTEGER NOT NULL,
  UNIQUE (job_id, seq)
);
CREATE INDEX events_tenant ON events (tenant, id);
CREATE INDEX events_type ON events (tenant, type, id);
CREATE INDEX events_time ON events (tenant, time, id);
CREATE INDEX events_jobless ON events (time) WHERE job_id IS NULL;

CREATE TABLE trainer_lines (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  attempt_no INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  line TEXT NOT NULL,
  PRIMARY KEY (job_id, attempt_no, seq)
);
CREATE TABLE line_cursors (     -- outlives the lines
  job_id TEXT NOT NULL REFERENCES jobs (id),
  attempt_no INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (job_id, attempt_no)
);

CREATE TABLE metrics (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  step INTEGER NOT NULL,
  attempt_no INTEGER NOT NULL,
  total_steps INTEGER NOT NULL,
  loss REAL,
  loss_bits TEXT NOT NULL,
  grad_norm REAL,
  lr REAL,
  data_epoch REAL,
  tokens INTEGER NOT NULL,
  tokens_per_s REAL,
  step_ms REAL,
  eta_s REAL,
  vram_allocated INTEGER NOT NULL,
  vram_peak INTEGER NOT NULL,
  replayed INTEGER NOT NULL,
  replay_mismatch INTEGER NOT NULL,
  time INTEGER NOT NULL,
  PRIMARY KEY (job_id, step)
);
CREATE INDEX metrics_latest ON metrics (job_id, attempt_no, step);
CREATE TABLE evaluations (
  job_id TEXT NOT NULL REFERENCES jobs (id),
  step INTEGER NOT NULL,
  attempt_no INTEGER NOT NULL,
  loss REAL,
  best INTEGER NOT NULL,
  time INTEGER NOT NULL,
  PRIMARY KEY (job_id, step)
);

CREATE TABLE webhooks (
  id TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL REFERENCES tenants (id),
  url TEXT NOT NULL,
  description TEXT NOT NULL,
  types TEXT NOT NULL,          -- separated by spaces
  format TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  disabled_reason TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX webhooks_tenant ON webhooks (tenant, created_at, id);
CREATE TABLE webhook_secrets (
  webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (webhook_id, position)
);

CREATE TABLE deliveries (
  id INTEGER PRIMARY KEY,
  webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
  tenant TEXT NOT NULL,
  event INTEGER NOT NULL REFERENCES events (id),
  job_id TEXT NOT NULL,
  order_key TEXT NOT NULL,      -- job id, or empty: waits for nothing
  type TEXT NOT NULL,
  state TEXT NOT NULL,
  open INTEGER NOT NULL,
  blocked INTEGER NOT NULL,
  replay INTEGER NOT NULL,
  tries INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  last_status INTEGER NOT NULL,
  last_error TEXT NOT NULL,
  last_ms INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  ended_at INTEGER
);
CREATE INDEX deliveries_due ON deliveries (webhook_id, next_at, id) WHERE open = 1 AND blocked = 0;
CREATE INDEX deliveries_order ON deliveries (webhook_id, order_key, id) WHERE open = 1;
CREATE INDEX deliveries_tenant ON deliveries (tenant, id);
CREATE INDEX deliveries_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_event ON deliveries (event);
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE open = 0;

CREATE TABLE artifacts (
  id TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL REFERENCES tenants (id),
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  file_count INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  pinned INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  sealed_at INTEGER,
  tombstone_at INTEGER
);
CREATE INDEX artifacts_tenant ON artifacts (tenant, created_at, id);
CREATE INDEX artifacts_created ON artifacts (created_at, id);
CREATE TABLE artifact_files (
  artifact_id TEXT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
  path TEXT NOT NULL,
  tenant TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  PRIMARY KEY (artifact_id, path)
);
CREATE INDEX artifact_files_digest ON artifact_files (tenant, sha256, artifact_id);

CREATE TABLE idempotency (
  tenant TEXT NOT NULL REFERENCES tenants (id),
  idempotency_key TEXT NOT NULL,
  body_sha256 TEXT NOT NULL,
  status INTEGER NOT NULL,
  answer TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, idempotency_key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE error_logs (
  error_id TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL,
  error_type TEXT NOT NULL,
  error_code TEXT NOT NULL,
  message TEXT NOT NULL,
  stack_trace TEXT NOT NULL,
  context_json TEXT NOT NULL,
  user_name TEXT NOT NULL,
  job_id TEXT NOT NULL,
  severity TEXT NOT NULL,
  time INTEGER NOT NULL
);
CREATE INDEX error_logs_tenant ON error_logs (tenant, time, error_id);
CREATE INDEX error_logs_time ON error_logs (time, error_id);

CREATE TABLE settings (
  setting_key TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL,
  changed_by TEXT NOT NULL,
  changed_at INTEGER NOT NULL
);
)sql";

constexpr std::array kSteps{kVersion1};

}  // namespace

std::span<const std::string_view> schema_steps() { return kSteps; }

}  // namespace ratchet::control

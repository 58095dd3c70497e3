#include "tests/controlplane/store/store_testing.h"

#include <unistd.h>

#include <cstdlib>

namespace ratchet::control {

TempFolder::TempFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "ratchet-store-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void StoreTest::open() {
  SqliteOptions options;
  options.folder = folder_.path();
  auto store = open_sqlite_store(std::move(options));
  ASSERT_TRUE(store) << store.error().message;
  store_ = std::move(*store);
}

void StoreTest::must(Batch batch) {
  const auto done = commit(std::move(batch));
  ASSERT_TRUE(done) << done.error().message;
}

Result<CommitInfo> StoreTest::write(Write one) {
  Batch batch;
  batch.writes.push_back(std::move(one));
  return commit(std::move(batch));
}

void StoreTest::must_write(Write one) {
  const auto done = write(std::move(one));
  ASSERT_TRUE(done) << done.error().message;
}

JobRow job_row(const std::string& id, std::int64_t created_at) {
  JobRow job;
  job.id = JobId(id);
  job.run_id = RunId("run-" + id);
  job.tenant = kDefaultTenant;
  job.name = "Job " + id;
  job.spec_json = R"({"name":"x","tags":["blue","green"]})";
  job.phase = JobPhase::kQueued;
  job.created_at = job.updated_at = UnixMillis(created_at);
  return job;
}

EventRow next_event(JobRow& job, const std::string& type) {
  EventRow event;
  event.job_id = job.id;
  event.seq = ++job.event_seq;
  event.tenant = job.tenant;
  event.type = type;
  event.epoch = job.epoch;
  event.data_json = "{}";
  event.time = job.created_at + UnixMillis(event.seq);
  return event;
}

Batch job_batch(JobRow& job, const std::string& type, std::int64_t chain) {
  Batch batch;
  batch.chain = chain;
  batch.events.push_back(next_event(job, type));
  batch.rows.emplace_back(job);
  return batch;
}

WebhookRow webhook_row(const std::string& id, std::vector<std::string> types) {
  WebhookRow row;
  row.id = id;
  row.tenant = kDefaultTenant;
  row.url = "https://example.org/" + id;
  row.types = std::move(types);
  row.format = "standard";
  row.secrets = {{"whsec_secret-of-" + id, UnixMillis(1), std::nullopt}};
  row.created_at = row.updated_at = UnixMillis(1);
  return row;
}

std::int64_t RandomRows::number(std::int64_t max) {
  return std::uniform_int_distribution<std::int64_t>(0, max)(random_);
}

std::string RandomRows::text() {
  static constexpr std::string_view kPieces[] = {"a", "'", "\"", "\\", "\n", "%",
                                                 "é", "€", "-",  " ",  "{",  "null"};
  std::string out;
  for (auto count = number(8); count > 0; --count) {
    out += kPieces[static_cast<std::size_t>(number(std::size(kPieces) - 1))];
  }
  return out;
}

Head RandomRows::head() { return {number(), text(), text()}; }

EvidenceValue RandomRows::evidence() {
  switch (number(4)) {
    case 0:
      return number(1) == 1;
    case 1:
      return -number();
    case 2:
      return static_cast<double>(number()) / 7;
    case 3:
      return text();
    default:
      return std::vector<std::string>{text(), text()};
  }
}

JobRow RandomRows::job(const std::string& id) {
  JobRow job = job_row(id, number());
  job.parent = JobId(text());
  job.created_by = text();
  job.name = text();
  job.spec_json = R"({"name":")" + id + R"("})";
  job.inputs.base_model = {text(), text()};
  job.inputs.train = {text(), text()};
  job.inputs.validation = maybe(InputRef{text(), text()});
  job.inputs.chat_template = maybe(InputRef{text(), text()});
  job.inputs.init_adapter = maybe(InputRef{text(), text()});
  job.needs = {word<DeviceKind>(), number(), text(), Bytes(number()), word<PriceClass>()};
  job.priority = -number();
  job.starts_at = maybe(time());
  job.phase = word<JobPhase>();
  job.epoch = number();
  job.attempts = number(5);
  job.head = head();
  job.step = number();
  job.total_steps = number();
  job.stage = text();
  job.ledger.ends = {{word<EndCause>(), number()}, {word<EndCause>(), number()}};
  job.ledger.without_progress = number();
  job.ledger.exogenous_without_progress = number();
  job.ledger.backoff_index = number();
  job.backoff_until = maybe(time());
  job.avoid_nodes = {text(), text()};
  job.failure = maybe(Failure{text(),
                              text(),
                              text(),
                              number(),
                              text(),
                              time(),
                              {{"first", evidence()}, {"second", evidence()}}});
  job.result_artifact = text();
  job.updated_at = time();
  job.started_at = maybe(time());
  job.ended_at = maybe(time());
  return job;
}

AttemptRow RandomRows::attempt(const JobId& job, std::int64_t no) {
  AttemptRow row;
  row.job_id = job;
  row.attempt_no = no;
  row.epoch = number();
  row.node_id = text();
  row.state = word<AttemptState>();
  row.cause = maybe(word<EndCause>());
  row.end_message = text();
  row.exit = maybe(AttemptExit{
      word<EndCause>(),
      ExitRecord{word<ExitKind>(), text(), {{"of", evidence()}}, number(), text(), true}, text()});
  row.resume = head();
  row.step = number();
  row.replayed_steps = number();
  row.usd_per_hour = static_cast<double>(number()) / 3;
  row.offered_at = time();
  row.accepted_at = maybe(time());
  row.first_step_at = maybe(time());
  row.ended_at = maybe(time());
  return row;
}

NodeRow RandomRows::node(const std::string& id) {
  NodeRow row;
  row.id = id;
  row.tenant = kDefaultTenant;
  row.incarnation = text();
  row.intent = text();
  NodeFacts& facts = row.facts;
  facts.name = text();
  facts.provider = text();
  facts.price = word<NodePrice>();
  facts.usd_per_hour = static_cast<double>(number()) / 3;
  facts.gpus = {{text(), text(), Bytes(number()), Bytes(number()), {number(), number()}}};
  facts.slots = number();
  facts.cpu_cores = number();
  facts.memory_total = Bytes(number());
  facts.disk_free = Bytes(number());
  facts.cache_used = Bytes(number());
  facts.disk_full = number(1) == 1;
  facts.preflight = {true, number(1) == 1, static_cast<double>(number()) / 3, text()};
  facts.agent_version = text();
  facts.trainer_version = text();
  row.provider = word<ProviderState>();
  row.schedulable = word<Schedulable>();
  row.schedulable_reason = text();
  row.notice = maybe(ReclaimNotice{text(), word<NoticeKind>(), text(), text(), Millis(-number())});
  row.created_at = time();
  row.last_seen = time();
  row.gone_at = maybe(time());
  row.gone_proof = text();
  return row;
}

CheckpointRow RandomRows::checkpoint(const JobId& job, std::int64_t step) {
  return {job,
          step,
          number(),
          number(),
          text(),
          text(),
          text(),
          Bytes(number()),
          word<CheckpointState>(),
          time(),
          maybe(time())};
}

IntentRow RandomRows::intent(const std::string& key) {
  return {key, text(), JobId(text()), word<IntentState>(), text(), text(), time(), time()};
}

InterruptionRow RandomRows::interruption(const JobId& job, std::int64_t number_of) {
  InterruptionRow row;
  row.job_id = job;
  row.number = number_of;
  row.cause = word<EndCause>();
  row.source = text();
  row.reason = text();
  row.attempt_no = number();
  row.interrupted_step = number();
  row.interrupted_at = time();
  row.resumed_attempt_no = number();
  row.resumed_step = maybe(number());
  row.resumed_at = maybe(time());
  row.replayed_steps = number();
  for (StageRow& stage : row.stages) {
    stage = {static_cast<StageState>(number(3)), maybe(time()), maybe(time())};
  }
  return row;
}

}  // namespace ratchet::control

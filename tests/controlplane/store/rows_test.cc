#include <algorithm>
#include <cmath>

#include "tests/controlplane/store/store_testing.h"

namespace ratchet::control {
namespace {

class StoredRows : public StoreTest {};

TEST_F(StoredRows, EveryMemberOfTheCoresRowsComesBack) {
  open();
  RandomRows random(7);
  std::vector<JobRow> jobs;
  for (int i = 0; i < 60; ++i) {
    Batch batch;
    const JobRow job = random.job("job-" + std::to_string(i));
    const AttemptRow attempt = random.attempt(job.id, 1 + i % 3);
    const NodeRow node = random.node("node-" + std::to_string(i));
    const CheckpointRow checkpoint = random.checkpoint(job.id, i);
    const InterruptionRow interruption = random.interruption(job.id, 1);
    const IntentRow intent = random.intent("intent-" + std::to_string(i));
    batch.rows = {interruption, checkpoint, node, attempt, intent, job};
    must(std::move(batch));
    if (i % 10 == 9) {
      close();
      open();
    }
    const auto read = store_->jobs().job(job.id, "default");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->row, job);
    EXPECT_EQ(*store_->jobs().attempts(job.id), std::vector{attempt});
    EXPECT_EQ(*store_->jobs().node(node.id, "default"), node);
    EXPECT_EQ(*store_->jobs().checkpoints(job.id), std::vector{checkpoint});
    EXPECT_EQ(*store_->jobs().interruptions(job.id), std::vector{interruption});
    const auto loaded = store_->load();
    ASSERT_TRUE(loaded);
    EXPECT_EQ(std::count(loaded->intents.begin(), loaded->intents.end(), intent),
              intent.state == IntentState::kDone ? 0 : 1);
    EXPECT_EQ(std::count(loaded->jobs.begin(), loaded->jobs.end(), job),
              is_terminal(job.phase) ? 0 : 1);
    EXPECT_EQ(std::count(loaded->nodes.begin(), loaded->nodes.end(), node),
              node.provider == ProviderState::kGone ? 0 : 1);
  }
}

TEST_F(StoredRows, LoadGivesTheLastAttemptOfLiveJobsAndEveryOpenOneOnce) {
  open();
  RandomRows random(3);
  JobRow job = job_row("a");
  Batch batch = job_batch(job, "job.created");
  for (std::int64_t no = 1; no <= 3; ++no) {
    AttemptRow attempt = random.attempt(job.id, no);
    attempt.state = no == 2 ? AttemptState::kRunning : AttemptState::kEnded;
    batch.rows.emplace_back(attempt);
  }
  JobRow over = job_row("b");
  over.phase = JobPhase::kFailed;
  batch.rows.emplace_back(over);
  AttemptRow ended = random.attempt(over.id, 1);
  ended.state = AttemptState::kEnded;
  batch.rows.emplace_back(ended);
  must(std::move(batch));
  const auto loaded = store_->load();
  ASSERT_TRUE(loaded);
  ASSERT_EQ(loaded->jobs.size(), 1U);
  ASSERT_EQ(loaded->attempts.size(), 2U);
  EXPECT_EQ(loaded->attempts[0].attempt_no, 2);
  EXPECT_EQ(loaded->attempts[1].attempt_no, 3);
}

TEST_F(StoredRows, AForeignTenantSeesNothing) {
  open();
  must_write(TenantRow{"other", "Other", UnixMillis(1)});
  JobRow job = job_row("a");
  must(job_batch(job, "job.created"));
  EXPECT_EQ(store_->jobs().job(job.id, "other").error().code, Code::kNotFound);
  EXPECT_TRUE(store_->jobs().jobs({.tenant = "other"})->items.empty());
  EXPECT_TRUE(store_->events().events({.tenant = "other"})->empty());
  EXPECT_EQ(store_->events().event(1, "other").error().code, Code::kNotFound);
  EXPECT_TRUE(store_->events().event(1, "default"));
}

TEST_F(StoredRows, AStateFollowsTheStagesOfTheRecovery) {
  open();
  JobRow job = job_row("a");
  must(job_batch(job, "job.created"));
  job.phase = JobPhase::kRecovering;
  job.attempts = 1;
  InterruptionRow interruption;
  interruption.job_id = job.id;
  interruption.number = 1;
  Batch batch = job_batch(job, "job.recovering");
  batch.rows.emplace_back(interruption);
  must(std::move(batch));
  EXPECT_EQ(store_->jobs().job(job.id, "")->state, JobState::kInterrupted);
  EXPECT_EQ(store_->jobs().job(job.id, "")->interruptions, 1);
  interruption.stages[static_cast<std::size_t>(RecoveryStage::kProvisioning)].state =
      StageState::kRunning;
  Batch later;
  later.rows.emplace_back(interruption);
  must(std::move(later));
  EXPECT_EQ(store_->jobs().job(job.id, "")->state, JobState::kRecovering);
  EXPECT_EQ(store_->jobs().jobs({.state = JobState::kRecovering})->items.size(), 1U);
}

TEST_F(StoredRows, LinesAreTakenInOrderOnce) {
  open();
  JobRow job = job_row("a");
  must(job_batch(job, "job.created"));
  const auto send = [&](std::vector<std::uint64_t> seqs) {
    Batch batch;
    for (const auto seq : seqs) {
      batch.lines.push_back({job.id, 1, 4, seq, "line " + std::to_string(seq)});
    }
    batch.lines.push_back({JobId("unknown"), 1, 4, 1, "of no job"});
    const auto done = commit(std::move(batch));
    EXPECT_TRUE(done);
    EXPECT_EQ(done->acked_lines.size(), 1U);
    return done->acked_lines.front().seq;
  };
  EXPECT_EQ(send({2, 1}), 2U);
  EXPECT_EQ(send({4, 5}), 2U);  // 3 is missing
  EXPECT_EQ(send({1, 2, 3, 4}), 4U);
  EXPECT_EQ(send({3, 3, 4}), 4U);
  EXPECT_EQ(*store_->events().line_cursor(job.id, 1), 4U);
  const auto lines = store_->events().lines(job.id, 1, 1, 10);
  ASSERT_EQ(lines->size(), 3U);
  EXPECT_EQ(lines->front(), (TrainerLine{job.id, 1, 4, 2, "line 2"}));
}

TEST_F(StoredRows, AReplayedStepWithOtherBitsIsFlagged) {
  open();
  JobRow job = job_row("a");
  must(job_batch(job, "job.created"));
  const auto send = [&](std::int64_t step, std::int64_t attempt, const std::string& bits) {
    MetricRow row;
    row.job_id = job.id;
    row.step = step;
    row.attempt_no = attempt;
    row.loss_bits = bits;
    row.loss = std::nan("");
    Batch batch;
    batch.metrics.push_back(row);
    must(std::move(batch));
  };
  send(1, 1, "aa");
  send(2, 1, "bb");
  send(1, 2, "aa");
  send(2, 2, "cc");
  send(2, 2, "cc");
  send(2, 1, "dd");  // late, of an older attempt
  const auto metrics = store_->events().metrics(job.id, 0, 10);
  ASSERT_EQ(metrics->size(), 2U);
  EXPECT_FALSE((*metrics)[0].replay_mismatch);
  EXPECT_TRUE((*metrics)[1].replay_mismatch);
  EXPECT_EQ((*metrics)[1].loss_bits, "cc");
  EXPECT_TRUE(std::isnan((*metrics)[1].loss));
  EXPECT_EQ((*store_->events().last_metric(job.id))->step, 2);
}

TEST_F(StoredRows, TokensSettingsErrorsAndAnswersComeBack) {
  open();
  TokenRow token{"tok_1", "default",     "laptop",      std::string(64, 'a'), {"user", "admin"},
                 "",      UnixMillis(5), UnixMillis(9), std::nullopt,         std::nullopt};
  must_write(token);
  must_write(TokenUse{"tok_1", UnixMillis(7)});
  token.last_used_at = UnixMillis(7);
  EXPECT_EQ(*store_->accounts().token_by_sha256(token.sha256), token);
  EXPECT_EQ(store_->accounts().token_by_sha256("b").error().code, Code::kNotFound);
  EXPECT_EQ(store_->accounts().token("tok_1", "other").error().code, Code::kNotFound);
  TokenRow twin = token;
  twin.id = "tok_2";
  EXPECT_EQ(write(twin).error().code, Code::kAlreadyExists);
  token.revoked_at = UnixMillis(8);
  must_write(token);
  EXPECT_EQ(store_->accounts().tokens("default", {})->items, std::vector{token});

  const IdempotencyRow answer{"default", "key", "hash", 201, "{}", UnixMillis(1000)};
  must_write(answer);
  EXPECT_EQ(*store_->accounts().idempotency("default", "key", UnixMillis(2000)), answer);
  EXPECT_FALSE(store_->accounts().idempotency("other", "key", UnixMillis(2000))->has_value());
  EXPECT_EQ(write(answer).error().code, Code::kAlreadyExists);
  const UnixMillis later = UnixMillis(1001) + kIdempotencyLife;
  EXPECT_FALSE(store_->accounts().idempotency("default", "key", later)->has_value());
  IdempotencyRow again = answer;
  again.created_at = later;
  must_write(again);

  const SettingRow setting{"a", "1", "me", UnixMillis(3)};
  must_write(setting);
  EXPECT_EQ(*store_->accounts().settings(), std::vector{setting});
  const ErrorLogRow log{"err_1", "default", "store",    "no_space", "full",       "",
                        "{}",    "me",      JobId("a"), "error",    UnixMillis(4)};
  must_write(log);
  EXPECT_EQ(store_->accounts().error_logs("default", {})->items, std::vector{log});
}

TEST_F(StoredRows, NeededArtifactsAreThoseOfJobs) {
  open();
  JobRow live = job_row("live");
  live.inputs.base_model.artifact_id = "art_model";
  live.inputs.train.artifact_id = "art_data";
  live.inputs.init_adapter = InputRef{"art_adapter", ""};
  live.head = {3, "m", "art_head"};
  JobRow over = job_row("over");
  over.phase = JobPhase::kSucceeded;
  over.inputs.base_model.artifact_id = "art_old";
  over.result_artifact = "art_result";
  Batch batch;
  batch.rows = {live, over};
  const auto checkpoint = [&](std::int64_t step, CheckpointState state) {
    CheckpointRow row;
    row.job_id = over.id;
    row.step = step;
    row.artifact_id = "art_c" + std::to_string(step);
    row.state = state;
    batch.rows.emplace_back(row);
  };
  checkpoint(1, CheckpointState::kRetired);
  checkpoint(2, CheckpointState::kDiscarded);
  checkpoint(3, CheckpointState::kCommitted);
  checkpoint(4, CheckpointState::kOrphan);
  must(std::move(batch));
  const std::set<std::string> wanted{"art_model",  "art_data", "art_adapter", "art_head",
                                     "art_result", "art_c3",   "art_c4"};
  EXPECT_EQ(*store_->artifacts().needed(), wanted);
}

}  // namespace
}  // namespace ratchet::control

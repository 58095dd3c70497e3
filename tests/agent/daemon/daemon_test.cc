// The agent as a whole against a small control plane over HTTP and a stand-in for the trainer.
// Agents run as processes, so that they can be killed.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "agent/daemon/files.h"
#include "agent/daemon/process.h"
#include "proto/job_spec.h"
#include "tests/agent/daemon/fake_control.h"
#include "tests/support/files.h"

namespace ratchet::testing {
namespace {

namespace fs = std::filesystem;
using Seen = FakeControl::Seen;

const fs::path kPrograms = fs::read_symlink("/proc/self/exe").parent_path();

std::uint16_t free_port() {
  boost::asio::io_context io;
  const auto server = net::HttpServer::listen(
      io.get_executor(), {}, [](net::Exchange& exchange) -> boost::asio::awaitable<void> {
        net::Response nothing;
        co_await exchange.send(std::move(nothing));
      });
  return server ? (*server)->port() : std::uint16_t{0};
}

class Agent {
 public:
  Agent(const std::string& control, const fs::path& state, std::vector<std::string> more = {}) {
    std::vector<std::string> words{(kPrograms / "ratchet-agent").string(),
                                   "--control",
                                   control,
                                   "--state",
                                   state.string(),
                                   "--trainer",
                                   (kPrograms / "agent_stand_in_trainer").string()};
    if (std::find(more.begin(), more.end(), "--disk-reserve-mib") == more.end()) {
      words.insert(words.end(), {"--disk-reserve-mib", "1"});
    }
    words.insert(words.end(), more.begin(), more.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setenv("RATCHET_JOIN_TOKEN", "join-secret", 1);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Agent() { end(SIGKILL); }

  int end(int signal) {
    if (pid_ <= 0) return -1;
    ::kill(pid_, signal);
    return wait();
  }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

class DaemonTest : public ::testing::Test {
 protected:
  void TearDown() override {
    // Trainers outlive agents, but not the test.
    for (const ProcessRecord& record : processes()) {
      if (agent::is_alive(record.identity)) ::kill(record.identity.pid, SIGKILL);
    }
  }

  using ProcessRecord = agent::ProcessRecord;
  std::vector<ProcessRecord> processes() {
    std::vector<ProcessRecord> out;
    std::error_code failed;
    for (fs::recursive_directory_iterator entry(state() / "attempts", failed);
         !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
      if (entry->path().filename() != "process.json") continue;
      const auto text = agent::read_file(entry->path(), 4096);
      if (!text) continue;
      if (const auto record = agent::decode_process_record(*text)) out.push_back(*record);
    }
    return out;
  }

  fs::path state() const { return folder_.path() / "state"; }

  DesiredAttempt attempt(const std::string& job, std::int64_t epoch, std::int64_t steps,
                         const std::string& notes = "") {
    if (base_.empty()) {
      base_ = control_.add_artifact("base_model", {{"config.json", "{}"}, {"w/a.bin", "weights"}});
      data_ = control_.add_artifact("dataset", {{"train.jsonl", "{}\n"}});
    }
    JobSpec spec;
    spec.name = job;
    spec.base_model = "base";
    spec.data.train = "train.jsonl";
    spec.training.data_epochs.reset();
    spec.training.max_steps = steps;
    spec.checkpoint.interval_steps = 10;
    spec.notes = notes;
    DesiredAttempt out;
    out.job_id = JobId(job);
    out.run_id = RunId(job);
    out.attempt_no = epoch;
    out.epoch = epoch;
    out.job_spec = encode_job_spec(spec);
    out.inputs.base_model.artifact_id = base_;
    out.inputs.train.artifact_id = data_;
    return out;
  }

  // Whether a whole checkpoint of that step is in the store.
  bool is_uploaded(std::int64_t step) {
    for (const auto& [id, artifact] : control_.seen().artifacts) {
      const auto file = artifact.files.find("step");
      if (artifact.sealed && file != artifact.files.end() &&
          file->second.bytes == std::to_string(step)) {
        return true;
      }
    }
    return false;
  }

  // Of the checkpoints that the agent keeps for their upload; -1: none.
  std::int64_t newest_sealed_step() {
    std::int64_t newest = -1;
    std::error_code failed;
    for (fs::recursive_directory_iterator entry(state() / "sealed", failed);
         !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
      if (entry->path().filename() != "step") continue;
      if (const auto text = agent::read_file(entry->path(), 64)) {
        newest = std::max<std::int64_t>(newest, std::stoll(*text));
      }
    }
    return newest;
  }

  bool wait_for_end(const std::string& key) {
    return control_.wait_for([&](const Seen& seen) {
      const auto report = seen.reports.find(key);
      return report != seen.reports.end() && report->second.exit.has_value();
    });
  }
  bool wait_for_step(const std::string& key, std::int64_t step) {
    return control_.wait_for([&](const Seen& seen) {
      const auto report = seen.reports.find(key);
      return report != seen.reports.end() && report->second.step >= step;
    });
  }

  TempFolder folder_;
  FakeControl control_;
  std::string base_;
  std::string data_;
};

TEST_F(DaemonTest, RunsAJobAndUploadsWhatItMade) {
  const Agent agent(control_.url(), state());
  control_.desire({attempt("job-a", 1, 30)});
  ASSERT_TRUE(wait_for_end("job-a/1"));
  ASSERT_TRUE(control_.wait_for(
      [](const Seen& seen) { return !seen.logs.empty() && seen.lines.size() >= 30; }));
  const Seen seen = control_.seen();
  const AttemptReport report = seen.reports.at("job-a/1");
  EXPECT_EQ(report.exit->cause, EndCause::kCompleted);
  EXPECT_EQ(report.step, 30);
  ASSERT_FALSE(report.exit->result_artifact.empty());
  const FakeArtifact& result = seen.artifacts.at(report.exit->result_artifact);
  EXPECT_TRUE(result.sealed);
  EXPECT_EQ(result.kind, "adapter");
  EXPECT_EQ(result.files.at("adapter_model.safetensors").bytes, "weights of 30");
  int checkpoints = 0;
  for (const auto& [id, artifact] : seen.artifacts) {
    checkpoints += artifact.kind == "checkpoint" && artifact.sealed ? 1 : 0;
  }
  EXPECT_GE(checkpoints, 1);
  EXPECT_EQ(seen.line_gaps, 0U);
  EXPECT_EQ(seen.hello_tokens.front(), "join-secret");
  EXPECT_TRUE(seen.facts.preflight.passed);
  EXPECT_NE(seen.logs.begin()->second.find("step 1\n"), std::string::npos);
}

TEST_F(DaemonTest, ResumesFromTheCheckpointThatTheControlPlaneNames) {
  const Agent agent(control_.url(), state());
  DesiredAttempt second = attempt("job-r", 2, 25);
  const std::string id = control_.add_artifact(
      "checkpoint", {{"MANIFEST.json", "{\"step\":20}"}, {"step", "20"}, {"data", "d"}});
  second.resume = ResumeFrom{20, agent::sha256_text("{\"step\":20}"), id};
  control_.desire({second});
  ASSERT_TRUE(wait_for_end("job-r/2"));
  const AttemptReport report = control_.seen().reports.at("job-r/2");
  EXPECT_EQ(report.exit->cause, EndCause::kCompleted);
  EXPECT_EQ(report.resumed_from_step, 20);
  EXPECT_EQ(report.step, 25);
}

TEST_F(DaemonTest, RefusesACheckpointWithAnotherDigest) {
  const Agent agent(control_.url(), state());
  DesiredAttempt second = attempt("job-x", 2, 25);
  const std::string id =
      control_.add_artifact("checkpoint", {{"MANIFEST.json", "{\"step\":19}"}, {"step", "19"}});
  second.resume = ResumeFrom{20, agent::sha256_text("{\"step\":20}"), id};
  control_.desire({second});
  ASSERT_TRUE(wait_for_end("job-x/2"));
  const AttemptReport report = control_.seen().reports.at("job-x/2");
  EXPECT_EQ(report.exit->cause, EndCause::kControlError);
  EXPECT_NE(report.exit->record.message.find("digest"), std::string::npos);
}

TEST_F(DaemonTest, TrainerOutlivesAKilledAgent) {
  // An address that a trainer inherited would be taken for as long as it lives.
  const std::vector<std::string> listen{"--listen", "127.0.0.1:" + std::to_string(free_port())};
  auto first = std::make_unique<Agent>(control_.url(), state(), listen);
  control_.desire({attempt("job-k", 1, 120, "step_ms=20")});
  ASSERT_TRUE(wait_for_step("job-k/1", 20));
  first->end(SIGKILL);
  const auto before = processes();
  ASSERT_EQ(before.size(), 1U);
  ASSERT_TRUE(agent::is_alive(before[0].identity));
  const Agent second(control_.url(), state(), listen);
  ASSERT_TRUE(wait_for_end("job-k/1"));
  const Seen seen = control_.seen();
  EXPECT_EQ(seen.reports.at("job-k/1").exit->cause, EndCause::kCompleted);
  ASSERT_GE(seen.hellos.size(), 2U);
  EXPECT_EQ(seen.hellos.back().node_id, "node-1");
  EXPECT_NE(seen.hellos.back().incarnation, seen.hellos.front().incarnation);
  EXPECT_EQ(seen.hello_tokens.back(), "token-of-node-1");
  ASSERT_EQ(seen.hellos.back().attempts.size(), 1U);
  EXPECT_EQ(seen.line_gaps, 0U);
  const auto after = processes();
  for (const ProcessRecord& record : after) EXPECT_EQ(record.identity, before[0].identity);
}

TEST_F(DaemonTest, SigtermDetachesAndAStoppedTrainerIsFoundAgain) {
  auto first = std::make_unique<Agent>(control_.url(), state());
  control_.desire({attempt("job-s", 1, 60, "step_ms=10")});
  ASSERT_TRUE(wait_for_step("job-s/1", 10));
  const auto before = processes();
  ASSERT_EQ(before.size(), 1U);
  ::kill(before[0].identity.pid, SIGSTOP);
  EXPECT_EQ(first->end(SIGTERM), 0);
  ASSERT_TRUE(agent::is_alive(before[0].identity));
  const Agent second(control_.url(), state());
  ASSERT_TRUE(control_.wait_for([](const Seen& seen) {
    return seen.hellos.size() >= 2 && !seen.hellos.back().attempts.empty() &&
           !seen.hellos.back().attempts[0].exit;
  }));
  ::kill(before[0].identity.pid, SIGCONT);
  ASSERT_TRUE(wait_for_end("job-s/1"));
  EXPECT_EQ(control_.seen().reports.at("job-s/1").exit->cause, EndCause::kCompleted);
}

TEST_F(DaemonTest, ATrainerThatDiedWithItsAgentIsExplainedByItsRecord) {
  auto first = std::make_unique<Agent>(control_.url(), state());
  control_.desire({attempt("job-d", 1, 40, "step_ms=10")});
  ASSERT_TRUE(wait_for_step("job-d/1", 5));
  first->end(SIGKILL);
  const auto record = processes();
  ASSERT_EQ(record.size(), 1U);
  for (int i = 0; i < 200 && agent::is_alive(record[0].identity); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const Agent second(control_.url(), state());
  ASSERT_TRUE(wait_for_end("job-d/1"));
  EXPECT_EQ(control_.seen().reports.at("job-d/1").exit->cause, EndCause::kCompleted);
}

TEST_F(DaemonTest, ACrashIsReportedWithItsSignal) {
  const Agent agent(control_.url(), state());
  control_.desire({attempt("job-c", 1, 40, "crash_at=15")});
  ASSERT_TRUE(wait_for_end("job-c/1"));
  const AttemptReport report = control_.seen().reports.at("job-c/1");
  EXPECT_EQ(report.exit->cause, EndCause::kUnknown);
  EXPECT_EQ(report.step, 15);
  EXPECT_NE(report.exit->record.message.find("signal 6"), std::string::npos)
      << report.exit->record.message;
}

TEST_F(DaemonTest, DrainSavesAndUploadsBeforeItLeaves) {
  const Agent agent(control_.url(), state());
  DesiredAttempt wanted = attempt("job-p", 1, 100000, "step_ms=10");
  control_.desire({wanted});
  ASSERT_TRUE(wait_for_step("job-p/1", 13));
  wanted.want = Want::kDrain;
  wanted.deadline = Millis(10000);
  wanted.stop_cause = EndCause::kCancelled;
  control_.desire({wanted});
  ASSERT_TRUE(wait_for_end("job-p/1"));
  const Seen seen = control_.seen();
  EXPECT_EQ(seen.reports.at("job-p/1").exit->cause, EndCause::kCancelled);
  EXPECT_TRUE(is_uploaded(seen.reports.at("job-p/1").step));
}

TEST_F(DaemonTest, ATrainerThatDoesNotListenIsStoppedBySignals) {
  const Agent agent(control_.url(), state());
  DesiredAttempt wanted = attempt("job-m", 1, 100000, "mute_stop hang_at=12");
  control_.desire({wanted});
  ASSERT_TRUE(wait_for_step("job-m/1", 12));
  wanted.want = Want::kStop;
  wanted.deadline = Millis(1000);
  control_.desire({wanted});
  ASSERT_TRUE(wait_for_end("job-m/1"));
  EXPECT_EQ(control_.seen().reports.at("job-m/1").exit->cause, EndCause::kCancelled);
}

TEST_F(DaemonTest, UploadsGoOnWhereTheyWereCut) {
  control_.cut_puts = 2;
  const Agent agent(control_.url(), state());
  control_.desire({attempt("job-u", 1, 12)});
  ASSERT_TRUE(wait_for_end("job-u/1"));
  const Seen seen = control_.seen();
  EXPECT_EQ(seen.reports.at("job-u/1").exit->cause, EndCause::kCompleted);
  EXPECT_TRUE(seen.artifacts.at(seen.reports.at("job-u/1").exit->result_artifact).sealed);
}

TEST_F(DaemonTest, DamagedDownloadsAreFetchedAgain) {
  control_.break_gets = 2;
  const Agent agent(control_.url(), state());
  control_.desire({attempt("job-b", 1, 12)});
  ASSERT_TRUE(wait_for_end("job-b/1"));
  EXPECT_EQ(control_.seen().reports.at("job-b/1").exit->cause, EndCause::kCompleted);
}

TEST_F(DaemonTest, SigtermAsReclaimTellsSavesAndLeaves) {
  Agent agent(control_.url(), state(), {"--sigterm", "reclaim", "--sigterm-lead-s", "8"});
  control_.desire({attempt("job-t", 1, 100000, "step_ms=10")});
  ASSERT_TRUE(wait_for_step("job-t/1", 11));
  ::kill(agent.pid(), SIGTERM);
  ASSERT_TRUE(control_.wait_for([](const Seen& seen) { return !seen.notices.empty(); }));
  EXPECT_EQ(control_.seen().notices[0].notice.source, "sigterm");
  EXPECT_EQ(agent.wait(), 0);
  const Seen seen = control_.seen();
  EXPECT_TRUE(is_uploaded(seen.reports.at("job-t/1").step));
}

class ReclaimTest : public DaemonTest, public ::testing::WithParamInterface<const char*> {};

// From the cloud's notice to a sealed checkpoint in the store.
TEST_P(ReclaimTest, NoticeIsToldAndTheLastStepIsSaved) {
  const Agent agent(control_.url(), state(),
                    {"--reclaim", GetParam(), "--metadata-url", control_.url()});
  control_.desire({attempt("job-n", 1, 100000, "step_ms=10")});
  ASSERT_TRUE(wait_for_step("job-n/1", 11));
  EXPECT_TRUE(control_.seen().notices.empty());
  control_.preempting = true;
  ASSERT_TRUE(control_.wait_for([](const Seen& seen) { return !seen.notices.empty(); }));
  EXPECT_EQ(control_.seen().notices[0].notice.source, GetParam());
  EXPECT_EQ(control_.seen().notices[0].notice.kind, NoticeKind::kReclaim);
  ASSERT_TRUE(wait_for_end("job-n/1"));
  const AttemptReport report = control_.seen().reports.at("job-n/1");
  EXPECT_EQ(report.exit->cause, EndCause::kPreempted);
  EXPECT_TRUE(is_uploaded(report.step));
  if (std::string(GetParam()) == "azure") {
    EXPECT_TRUE(control_.wait_for([&](const Seen&) { return control_.acknowledged > 0; }));
  }
}

INSTANTIATE_TEST_SUITE_P(Clouds, ReclaimTest, ::testing::Values("aws", "gcp", "azure"));

TEST_F(DaemonTest, ANodeThatIsReleasedRunsItsCommand) {
  const fs::path mark = folder_.path() / "released";
  Agent agent(control_.url(), state(), {"--release-command", "touch " + mark.string()});
  ASSERT_TRUE(control_.wait_for([](const Seen& seen) { return seen.heartbeats > 0; }));
  control_.want_node(NodeWant::kRelease);
  EXPECT_EQ(agent.wait(), 0);
  EXPECT_TRUE(fs::exists(mark));
}

// The dead man's switch: a rented node that nobody commands any more must not cost for ever.
TEST_F(DaemonTest, ARentedNodeWithoutAuthoritySavesAndGivesItselfBack) {
  control_.authority_ms = 2000;
  const fs::path mark = folder_.path() / "released";
  Agent agent(
      control_.url(), state(),
      {"--price", "spot", "--hard-cap-s", "1", "--release-command", "touch " + mark.string()});
  control_.desire({attempt("job-m", 1, 5000, "step_ms=10")});
  ASSERT_TRUE(wait_for_step("job-m/1", 20));
  control_.silent = true;
  EXPECT_EQ(agent.wait(), 0);
  EXPECT_TRUE(fs::exists(mark));
  ASSERT_EQ(processes().size(), 1U);
  EXPECT_FALSE(agent::is_alive(processes()[0].identity));
  // What it trained last is on the disk, if the machine comes back.
  EXPECT_GE(newest_sealed_step(), control_.seen().reports.at("job-m/1").step);
}

TEST_F(DaemonTest, ASecondAgentOnTheSameFolderIsRefused) {
  const Agent first(control_.url(), state());
  ASSERT_TRUE(control_.wait_for([](const Seen& seen) { return !seen.hellos.empty(); }));
  Agent second(control_.url(), state());
  const int status = second.wait();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST_F(DaemonTest, LinesWaitForAControlPlaneThatIsSilent) {
  const Agent agent(control_.url(), state());
  control_.desire({attempt("job-q", 1, 150, "step_ms=10")});
  ASSERT_TRUE(wait_for_step("job-q/1", 5));
  control_.silent = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  control_.silent = false;
  ASSERT_TRUE(wait_for_end("job-q/1"));
  ASSERT_TRUE(control_.wait_for([](const Seen& seen) { return seen.lines.size() >= 153; }));
  EXPECT_EQ(control_.seen().line_gaps, 0U);
}

TEST_F(DaemonTest, TrainingGoesOnWithoutAuthorityAndItsWorkIsOfferedLater) {
  control_.authority_ms = 3000;
  const Agent agent(control_.url(), state());
  control_.desire({attempt("job-l", 1, 500, "step_ms=10")});
  ASSERT_TRUE(wait_for_step("job-l/1", 20));
  control_.silent = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(3500));
  const std::size_t puts = control_.seen().puts;
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(control_.seen().puts, puts) << "uploaded without authority";
  EXPECT_EQ(processes().size(), 1U);
  EXPECT_TRUE(agent::is_alive(processes()[0].identity));
  control_.silent = false;
  ASSERT_TRUE(wait_for_end("job-l/1"));
  EXPECT_EQ(control_.seen().reports.at("job-l/1").exit->cause, EndCause::kCompleted);
  EXPECT_EQ(control_.seen().line_gaps, 0U);
  EXPECT_TRUE(is_uploaded(500));
}

TEST_F(DaemonTest, TrainingPausesWhileTheDiskIsFull) {
  fs::create_directories(state());
  const auto space = agent::disk_space(state());
  ASSERT_TRUE(space);
  const std::int64_t margin = std::min<std::int64_t>(2LL << 30, space->free.count() / 4);
  const std::int64_t reserve = (space->free.count() - margin) >> 20;
  const Agent agent(control_.url(), state(), {"--disk-reserve-mib", std::to_string(reserve)});
  control_.desire({attempt("job-f", 1, 400, "step_ms=10")});
  ASSERT_TRUE(wait_for_step("job-f/1", 5));
  const fs::path big = folder_.path() / "big";
  const int fd = ::open(big.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(::posix_fallocate(fd, 0, 2 * margin), 0);
  ::close(fd);
  ASSERT_TRUE(control_.wait_for([](const Seen& seen) { return seen.facts.disk_full; }));
  ASSERT_EQ(processes().size(), 1U);
  const auto stopped = agent::process_stat(processes()[0].identity.pid);
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->state, 'T');
  fs::remove(big);
  ASSERT_TRUE(wait_for_end("job-f/1"));
  EXPECT_EQ(control_.seen().reports.at("job-f/1").exit->cause, EndCause::kCompleted);
  EXPECT_FALSE(control_.seen().facts.disk_full);
}

}  // namespace
}  // namespace ratchet::testing

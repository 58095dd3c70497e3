// Real processes: the agent is a shell script that sleeps, its trainer a sleep of its own session.

#include "controlplane/provision/local_provisioner.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/files.h"

namespace ratchet::control {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::TempFolder;

class LocalProvisionerTest : public ::testing::Test {
 protected:
  void SetUp() override { provisioner_ = make(); }

  void TearDown() override {
    provisioner_->stop();
    for (const auto& key : {"k1", "k2", "k3", "k4"}) {
      for (const auto& process : processes(key)) send_signal(process, SIGKILL);
    }
  }

  // `script` runs in the node's folder.
  void agent_is(const std::string& script) {
    std::ofstream(program()) << "#!/bin/sh\n" << script << "\n";
    ::chmod(program().c_str(), 0755);
  }

  std::unique_ptr<LocalProvisioner> make() {
    return std::make_unique<LocalProvisioner>(io_.get_executor(),
                                              LocalOptions{.folder = folder_.path() / "local",
                                                           .agent = program(),
                                                           .trainer = "/trainer",
                                                           .control_url = "http://127.0.0.1:1",
                                                           .ca_file = "",
                                                           .nodes_max = 1,
                                                           .release_grace = milliseconds(200)});
  }

  void start(const std::vector<IntentRow>& intents = {}) {
    provisioner_->start(intents, [this](ProvisionFact fact) { facts_.push_back(std::move(fact)); });
  }

  // Runs the loop until it holds, at most for some seconds.
  template <class Condition>
  bool eventually(Condition condition) {
    const auto end = steady_clock::now() + std::chrono::seconds(20);
    while (steady_clock::now() < end) {
      if (condition()) return true;
      io_.restart();
      io_.run_for(milliseconds(20));
    }
    return false;
  }

  std::string program() const { return (folder_.path() / "agent.sh").string(); }
  fs::path node(const std::string& key) const { return folder_.path() / "local" / key; }
  std::vector<ProcessName> processes(const std::string& key) const {
    return find_marked("RATCHET_LOCAL_NODE=" + node(key).string());
  }
  // The one process of the node. One that is just executing another has no environment for a
  // moment, and so no mark: it is waited for.
  ProcessName only_process(const std::string& key) {
    std::vector<ProcessName> found;
    const bool one = eventually([&] {
      found = processes(key);
      return found.size() == 1;
    });
    if (!one)
      throw std::runtime_error("the node has " + std::to_string(found.size()) + " processes");
    return found.front();
  }
  std::size_t gone() const {
    return static_cast<std::size_t>(std::count_if(
        facts_.begin(), facts_.end(),
        [](const ProvisionFact& fact) { return std::holds_alternative<ProvisionedGone>(fact); }));
  }
  std::vector<IntentState> answers() const {
    std::vector<IntentState> out;
    for (const auto& fact : facts_) {
      if (const auto* answer = std::get_if<IntentAnswered>(&fact)) out.push_back(answer->state);
    }
    return out;
  }

  TempFolder folder_;
  asio::io_context io_;
  std::vector<ProvisionFact> facts_;
  std::unique_ptr<LocalProvisioner> provisioner_;
};

TEST_F(LocalProvisionerTest, AgentIsStartedWithItsTokenInAFile) {
  agent_is("echo \"$@\" > ran; exec sleep 60");
  start();
  provisioner_->create({"k1", "local", {}}, "secret-token");
  ASSERT_TRUE(eventually([&] { return fs::exists(node("k1") / "ran") && !facts_.empty(); }));
  EXPECT_EQ(answers(), std::vector{IntentState::kCreated});
  std::ifstream in(node("k1") / "ran");
  const std::string line((std::istreambuf_iterator<char>(in)), {});
  EXPECT_EQ(line.find("secret-token"), std::string::npos);
  EXPECT_NE(line.find("--intent k1"), std::string::npos) << line;
  EXPECT_EQ(fs::status(node("k1") / "join.token").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
  provisioner_->create({"k1", "local", {}}, "again");
  only_process("k1");
}

TEST_F(LocalProvisionerTest, DeathOfAllItsProcessesIsProof) {
  agent_is("exec sleep 60");
  start();
  provisioner_->create({"k1", "local", {}}, "t");
  const ProcessName agent = only_process("k1");
  const auto began = steady_clock::now();
  send_signal(agent, SIGKILL);
  ASSERT_TRUE(eventually([&] { return gone() == 1; }));
  RecordProperty(
      "detect_ms",
      static_cast<int>(
          std::chrono::duration_cast<milliseconds>(steady_clock::now() - began).count()));
  const auto& proof = std::get<ProvisionedGone>(facts_.back());
  EXPECT_EQ(proof.intent_key, "k1");
  EXPECT_NE(proof.proof.find("signal 9"), std::string::npos) << proof.proof;
  EXPECT_EQ(provisioner_->health().nodes, 0);
}

TEST_F(LocalProvisionerTest, AgentIsStartedAgainWhileItsTrainerLives) {
  // The trainer is a shell that waits: a process that is just executing another has no environment
  // for a moment, and so no mark.
  agent_is("test -e ready || setsid sh -c 'echo x > ready; sleep 60; true' & exec sleep 61");
  start();
  provisioner_->create({"k1", "local", {}}, "t");
  ASSERT_TRUE(eventually([&] { return fs::exists(node("k1") / "ready"); }));
  const auto first = read_record(node("k1") / "process.json");
  ASSERT_TRUE(first.has_value());
  send_signal(*first, SIGKILL);
  ASSERT_TRUE(eventually([&] {
    const auto record = read_record(node("k1") / "process.json");
    return record && !(*record == *first) && is_alive(*record);
  }));
  EXPECT_EQ(gone(), 0U);
  for (const auto& process : processes("k1")) send_signal(process, SIGKILL);
  EXPECT_TRUE(eventually([&] { return gone() == 1; }));
}

TEST_F(LocalProvisionerTest, RecordedTrainerCountsAlthoughItLostTheMark) {
  agent_is("exec sleep 60");
  const auto attempt = node("k1") / "agent" / "attempts" / "job-1" / "e1";
  fs::create_directories(attempt);
  const SpawnArgs unmarked{.command = {"/bin/sleep", "60"},
                           .environment = {},
                           .folder = folder_.path(),
                           .output = folder_.path() / "out",
                           .record = attempt / "process.json"};
  const auto trainer = spawn_detached(unmarked);
  ASSERT_TRUE(trainer.has_value());
  start();
  provisioner_->create({"k1", "local", {}}, "t");
  const auto agent = read_record(node("k1") / "process.json");
  ASSERT_TRUE(agent.has_value());
  send_signal(*agent, SIGKILL);
  ASSERT_TRUE(eventually([&] {
    const auto record = read_record(node("k1") / "process.json");
    return record && !(*record == *agent) && is_alive(*record);
  }));
  EXPECT_EQ(gone(), 0U);
  send_signal(*trainer, SIGKILL);
  reap(trainer->pid);
}

TEST_F(LocalProvisionerTest, RunningAgentsAreFoundAgain) {
  agent_is("exec sleep 60");
  start();
  provisioner_->create({"k1", "local", {}}, "t");
  ASSERT_TRUE(eventually([&] { return processes("k1").size() == 1 && facts_.size() == 1; }));
  provisioner_->stop();
  provisioner_ = make();
  facts_.clear();
  IntentRow sent;
  sent.key = "k1";
  sent.state = IntentState::kSent;
  IntentRow never;
  never.key = "k2";
  never.state = IntentState::kSent;
  IntentRow dead;
  dead.key = "k3";
  dead.state = IntentState::kCreated;
  start({sent, never, dead});
  ASSERT_TRUE(eventually([&] { return facts_.size() == 3; }));
  EXPECT_EQ(answers(), (std::vector{IntentState::kCreated, IntentState::kAbsentConfirmed}));
  EXPECT_EQ(gone(), 1U) << "k3";
  only_process("k1");
  send_signal(only_process("k1"), SIGKILL);
  EXPECT_TRUE(eventually([&] { return gone() == 2; }));
}

TEST_F(LocalProvisionerTest, ReleaseEndsEveryProcess) {
  agent_is("trap '' TERM; (trap '' TERM; sleep 60) & while :; do sleep 60; done");
  start();
  provisioner_->create({"k1", "local", {}}, "t");
  ASSERT_TRUE(eventually([&] { return processes("k1").size() >= 2; }));
  provisioner_->release("k1");
  ASSERT_TRUE(eventually([&] { return gone() == 1; }));
  EXPECT_TRUE(processes("k1").empty());
  provisioner_->release("k4");
  EXPECT_TRUE(eventually([&] { return gone() == 2; })) << "what is not there is gone";
}

TEST_F(LocalProvisionerTest, WhatCannotStartIsRefused) {
  start();
  provisioner_->create({"k1", "local", {}}, "t");
  provisioner_->create({"../k2", "local", {}}, "t");
  ASSERT_TRUE(eventually([&] { return facts_.size() == 2; }));
  EXPECT_EQ(answers(), (std::vector{IntentState::kRefused, IntentState::kRefused}));
  EXPECT_FALSE(provisioner_->health().ok);
  EXPECT_FALSE(provisioner_->health().message.empty());
}

TEST_F(LocalProvisionerTest, NodesAreBounded) {
  agent_is("exec sleep 60");
  start();
  for (const auto& key : {"k1", "k2", "k3"}) provisioner_->create({key, "local", {}}, "t");
  ASSERT_TRUE(eventually([&] { return facts_.size() == 3; }));
  EXPECT_EQ(answers().back(), IntentState::kRefused);
}

}  // namespace
}  // namespace ratchet::control

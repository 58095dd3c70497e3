#include "controlplane/provision/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/support/files.h"

namespace ratchet::control {
namespace {

using testing::TempFolder;

SpawnArgs sleeper(const std::filesystem::path& folder, const std::string& seconds) {
  return {.command = {"/bin/sleep", seconds},
          .environment = {"RATCHET_LOCAL_NODE=" + folder.string()},
          .folder = folder,
          .output = folder / "out.log",
          .record = folder / "process.json"};
}

TEST(Process, RecordNamesTheLiveProcess) {
  const TempFolder folder;
  const auto started = spawn_detached(sleeper(folder.path(), "60"));
  ASSERT_TRUE(started.has_value()) << started.error().message;
  EXPECT_TRUE(is_alive(*started));
  EXPECT_EQ(read_record(folder.path() / "process.json"), *started);
  EXPECT_EQ(getsid(started->pid), started->pid) << "it has a session of its own";
  const auto marked = find_marked("RATCHET_LOCAL_NODE=" + folder.path().string());
  ASSERT_EQ(marked.size(), 1U);
  EXPECT_EQ(marked.front(), *started);
  send_signal(*started, SIGKILL);
  ::waitpid(started->pid, nullptr, 0);
  EXPECT_FALSE(is_alive(*started));
  EXPECT_LT(open_pidfd(*started), 0);
}

TEST(Process, ReusedPidIsAnotherProcess) {
  const auto own = find_process(::getpid());
  ASSERT_TRUE(own.has_value());
  auto earlier = *own;
  earlier.start_time -= 1;
  EXPECT_FALSE(is_alive(earlier));
  send_signal(earlier, SIGKILL);  // hits nobody: this test lives on
  EXPECT_LT(open_pidfd(earlier), 0);
}

TEST(Process, ZombieIsDead) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(7);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(find_process(pid).has_value());
  EXPECT_EQ(reap(pid), "exited with code 7");
}

TEST(Process, MissingProgramIsAnError) {
  const TempFolder folder;
  auto args = sleeper(folder.path(), "1");
  args.command = {(folder.path() / "nothing").string()};
  EXPECT_FALSE(spawn_detached(args).has_value());
}

TEST(Process, NothingStartsWithoutItsRecord) {
  const TempFolder folder;
  auto args = sleeper(folder.path(), "60");
  args.record = folder.path() / "no" / "such" / "folder";
  EXPECT_FALSE(spawn_detached(args).has_value());
  EXPECT_TRUE(find_marked("RATCHET_LOCAL_NODE=" + folder.path().string()).empty());
}

TEST(Process, RecordOfAnotherStartOfTheMachineNamesNothing) {
  const TempFolder folder;
  const auto own = find_process(::getpid());
  ASSERT_TRUE(own.has_value());
  std::ofstream(folder.path() / "other.json")
      << R"({"boot":"another","pid":)" << own->pid << R"(,"start_time":)" << own->start_time << "}";
  EXPECT_FALSE(read_record(folder.path() / "other.json").has_value());
  std::ofstream(folder.path() / "broken.json") << "{";
  EXPECT_FALSE(read_record(folder.path() / "broken.json").has_value());
  std::ofstream(folder.path() / "own.json") << encode_record(*own);
  EXPECT_EQ(read_record(folder.path() / "own.json"), own);
}

}  // namespace
}  // namespace ratchet::control

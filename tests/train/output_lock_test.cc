#include "trainer/train/output_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace ratchet::trainer {
namespace {

std::filesystem::path fresh_dir() {
  std::string name = (std::filesystem::temp_directory_path() / "ratchet-lock-XXXXXX").string();
  return ::mkdtemp(name.data());
}

TEST(OutputLock, SecondOwnerIsToldWhoHasIt) {
  const auto dir = fresh_dir();
  auto first = OutputLock::acquire(dir);
  ASSERT_TRUE(first);
  auto second = OutputLock::acquire(dir);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kFailedPrecondition);
  EXPECT_NE(second.error().message.find("pid " + std::to_string(::getpid())), std::string::npos);
  std::filesystem::remove_all(dir);
}

TEST(OutputLock, IsFreeAgainAfterItsOwnerDied) {
  const auto dir = fresh_dir();
  const pid_t child = ::fork();
  if (child == 0) {
    const auto held = OutputLock::acquire(dir);
    ::_exit(held ? 0 : 1);  // no destructor runs, as after SIGKILL
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(OutputLock::acquire(dir));
  std::filesystem::remove_all(dir);
}

TEST(OutputLock, AFileInTheWayIsAnError) {
  auto lock = OutputLock::acquire("/dev/null/out");
  ASSERT_FALSE(lock);
  EXPECT_EQ(lock.error().code, Code::kIo);
}

}  // namespace
}  // namespace ratchet::trainer

#include "trainer/train/watcher.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "proto/socket_path.h"

namespace ratchet::trainer {
namespace {

std::filesystem::path fresh_dir() {
  std::string name = (std::filesystem::temp_directory_path() / "ratchet-watch-XXXXXX").string();
  return ::mkdtemp(name.data());
}

std::string ask(const std::filesystem::path& socket_path, const std::string& text) {
  const auto path = SocketPath::open(socket_path);
  if (!path) {
    return path.error().message;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path->name().c_str(), sizeof(address.sun_path) - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return "no connection: " + std::string(std::strerror(errno));
  }
  EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  std::string reply;
  char chunk[256];
  for (ssize_t got = 0; (got = ::read(fd, chunk, sizeof(chunk))) > 0;) {
    reply.append(chunk, static_cast<size_t>(got));
  }
  ::close(fd);
  return reply;
}

WatcherCallbacks echo() {
  return {[](const StopRequest&) {}, [](const std::string& line) { return "heard " + line; }};
}

TEST(Watcher, AnswersOneLineWithOneLine) {
  const auto dir = fresh_dir();
  Watcher::Options options;
  options.socket_path = dir / "control.sock";
  auto watcher = Watcher::start(options, echo());
  ASSERT_TRUE(watcher);
  EXPECT_EQ(ask(options.socket_path, "status\n"), "heard status\n");
  EXPECT_EQ(ask(options.socket_path, "a\nb\n"), "heard a\n");
  struct stat info{};
  ASSERT_EQ(::stat(options.socket_path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  watcher.value().reset();
  EXPECT_FALSE(std::filesystem::exists(options.socket_path));
  std::filesystem::remove_all(dir);
}

TEST(Watcher, ListensHoweverLongItsPathIs) {
  const auto dir = fresh_dir();
  const auto deep = dir / std::string(200, 'a') / std::string(200, 'b');
  std::filesystem::create_directories(deep);
  Watcher::Options options;
  options.socket_path = deep / "control.sock";
  auto watcher = Watcher::start(options, echo());
  ASSERT_TRUE(watcher);
  EXPECT_EQ(ask(options.socket_path, "status\n"), "heard status\n");
  watcher.value().reset();
  EXPECT_FALSE(std::filesystem::exists(options.socket_path));
  std::filesystem::remove_all(dir);
}

TEST(Watcher, BoundsARequestWithoutAnEnd) {
  const auto dir = fresh_dir();
  Watcher::Options options;
  options.socket_path = dir / "control.sock";
  auto watcher = Watcher::start(options, echo());
  ASSERT_TRUE(watcher);
  const std::string reply = ask(options.socket_path, std::string(4096, 'x'));
  EXPECT_EQ(reply.size(), std::string("heard ").size() + 4096 + 1);
  std::filesystem::remove_all(dir);
}

TEST(Watcher, SigtermCallsStopWithTheDeadline) {
  const pid_t child = ::fork();
  if (child == 0) {
    Watcher::block_signals();
    Watcher::Options options;
    options.sigterm_deadline = std::chrono::milliseconds(1234);
    auto watcher = Watcher::start(
        options, {[](const StopRequest& stop) {
                    const auto left = stop.deadline - std::chrono::steady_clock::now();
                    const bool fits = left <= std::chrono::milliseconds(1234) &&
                                      left > std::chrono::milliseconds(0);
                    ::_exit(stop.reason == "SIGTERM" && fits ? 42 : 1);
                  },
                  nullptr});
    ::kill(::getpid(), SIGTERM);
    std::this_thread::sleep_for(std::chrono::seconds(20));
    ::_exit(2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST(Watcher, SecondInterruptEndsTheProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    Watcher::block_signals();
    auto watcher = Watcher::start({}, {[](const StopRequest&) {
                                         ::kill(::getpid(), SIGINT);
                                         std::this_thread::sleep_for(std::chrono::seconds(20));
                                       },
                                       nullptr});
    ::kill(::getpid(), SIGINT);
    std::this_thread::sleep_for(std::chrono::seconds(20));
    ::_exit(2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGINT);
}

}  // namespace
}  // namespace ratchet::trainer

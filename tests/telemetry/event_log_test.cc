#include "trainer/telemetry/event_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <sstream>
#include <thread>
#include <vector>

#include "tests/support/files.h"

namespace ratchet::trainer {
namespace {

using std::chrono::milliseconds;
using testing::read_file;
using testing::TempFolder;
using testing::write_file;

std::vector<Event> events_of(const std::string& text) {
  std::vector<Event> events;
  std::stringstream in(text);
  for (std::string line; std::getline(in, line);) {
    auto event = decode_event(line);
    EXPECT_TRUE(event) << line.substr(0, 200);
    if (event) events.push_back(*event);
  }
  return events;
}

StepEvent step(std::int64_t n) {
  StepEvent event;
  event.step = n;
  return event;
}

WarningEvent warning(const std::string& kind) {
  return WarningEvent{.kind = kind, .message = "", .step = 0};
}

class EventLogTest : public ::testing::Test {
 protected:
  std::unique_ptr<EventLog> open(std::optional<int> descriptor = {}) {
    EventLog::Options options;
    options.path = path();
    options.job_id = JobId("job");
    options.attempt_no = attempt_no_;
    options.epoch = 3;
    options.descriptor = descriptor;
    options.clock = [] { return UnixMillis(1'000); };
    options.on_problem = [this](const std::string& problem) { problems_.push_back(problem); };
    auto log = EventLog::open(std::move(options));
    EXPECT_TRUE(log) << log.error().message;
    return std::move(*log);
  }
  [[nodiscard]] std::string path() const { return folder_.file("events.jsonl"); }
  std::vector<Event> in_file() { return events_of(read_file(path())); }

  const TempFolder folder_;
  std::int64_t attempt_no_ = 1;
  std::vector<std::string> problems_;
};

TEST_F(EventLogTest, WritesOneLineAnEventWithItsHeader) {
  auto log = open();
  log->emit(StageEvent{Stage::kTraining, "go"});
  log->emit(step(1));
  const auto events = in_file();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].header.seq, 1U);
  EXPECT_EQ(events[1].header.seq, 2U);
  EXPECT_EQ(events[1].header.job_id.str(), "job");
  EXPECT_EQ(events[1].header.epoch, 3);
  EXPECT_EQ(events[1].header.time, UnixMillis(1'000));
  EXPECT_EQ(std::get<StageEvent>(events[0].body).detail, "go");
}

TEST_F(EventLogTest, SequenceContinuesAfterARestart) {
  open()->emit(step(1));
  attempt_no_ = 2;
  open()->emit(step(1));
  open();  // an attempt that says nothing changes nothing
  open()->emit(step(2));
  const auto events = in_file();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[2].header.seq, 3U);
  EXPECT_EQ(events[2].header.attempt_no, 2);
}

TEST_F(EventLogTest, TornLastLineIsCutOffAtEveryByte) {
  {
    auto log = open();
    log->emit(step(1));
    log->emit(step(2));
  }
  const std::string whole = read_file(path());
  const std::size_t first = whole.find('\n') + 1;
  for (std::size_t size = first; size < whole.size(); size += 7) {
    write_file(path(), std::string_view(whole).substr(0, size));
    open()->emit(warning("after"));
    const auto events = in_file();
    ASSERT_EQ(events.size(), 2U) << size;
    EXPECT_EQ(events[1].header.seq, 2U);
    EXPECT_EQ(event_type(events[1].body), "warning");
  }
}

TEST_F(EventLogTest, LinesThatAreNoEventsAreSkippedWhenCounting) {
  open()->emit(step(1));
  const std::string line = read_file(path());
  // Longer than a block of the backward scan, and longer than any event.
  write_file(path(), line + "garbage\n\n{}\n" + std::string(600'000, 'x') + "\ntorn");
  auto log = open();
  EXPECT_EQ(log->next_seq(), 2U);
  log->emit(warning("w"));
  const std::string text = read_file(path());
  EXPECT_EQ(text.find("torn"), std::string::npos);
  EXPECT_TRUE(events_of(text.substr(text.rfind("xx\n") + 3)).size() == 1);
}

TEST_F(EventLogTest, FilesWithoutAnyEventStartAtOne) {
  for (const std::string& text : {std::string(), std::string("torn"), std::string("a\nb\n"),
                                  std::string(200'000, 'x'), std::string(200'000, '\n')}) {
    write_file(path(), text);
    EXPECT_EQ(open()->next_seq(), 1U) << text.substr(0, 10);
  }
}

TEST_F(EventLogTest, LinesAcrossScanBlocksAreFound) {
  open()->emit(warning("found"));
  const std::string line = read_file(path());
  for (std::size_t filler = 65'536 - line.size() - 3; filler < 65'536 + 3; ++filler) {
    write_file(path(), line + std::string(filler, 'x') + "\n");
    ASSERT_EQ(open()->next_seq(), 2U) << filler;
  }
}

TEST_F(EventLogTest, OpenFailsWithTheReason) {
  EventLog::Options options;
  options.path = "/no/such/folder/events.jsonl";
  const auto missing = EventLog::open(options);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kIo);
  EXPECT_NE(missing.error().message.find(options.path), std::string::npos);
  options.path = "/dev/null";
  EXPECT_FALSE(EventLog::open(options));
}

// Goal: lines lost to a full disk are counted, never half written. Method: a file size limit.
TEST_F(EventLogTest, FullDiskLosesWholeLinesAndSaysSo) {
  auto log = open();
  log->emit(step(1));
  const auto size = std::filesystem::file_size(path());
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit tight{.rlim_cur = size + 20, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  log->emit(step(2));
  log->emit(step(3));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(log->dropped_from_file(), 2);
  EXPECT_EQ(problems_.size(), 1U);
  EXPECT_EQ(std::filesystem::file_size(path()), size);
  log->emit(step(4));
  const auto events = in_file();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(std::get<StepEvent>(events[1].body).step, 4);
  EXPECT_EQ(events[1].header.seq, 4U);
  const auto& lost = std::get<WarningEvent>(events[2].body);
  EXPECT_EQ(lost.kind, "events_dropped");
  EXPECT_EQ(lost.message, "2 events before this one could not be written to this file.");
}

enum class Channel { kPipe, kSocket };

class DescriptorTest : public EventLogTest, public ::testing::WithParamInterface<Channel> {
 protected:
  DescriptorTest() {
    std::array<int, 2> ends{};
    if (GetParam() == Channel::kPipe) {
      EXPECT_EQ(pipe(ends.data()), 0);
    } else {
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    }
    reader_ = ends[0];
    writer_ = ends[1];
  }
  ~DescriptorTest() override {
    close_reader();
    close(writer_);
  }
  void close_reader() {
    if (reader_ >= 0) close(reader_);
    reader_ = -1;
  }
  // All that is readable until the writer's end is closed.
  std::string read_all() {
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t n = 0; (n = read(reader_, buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return text;
  }
  int reader_ = -1;
  int writer_ = -1;
};

TEST_P(DescriptorTest, ReaderGetsWhatTheFileGets) {
  {
    auto log = open(writer_);
    for (int i = 1; i <= 20; ++i) log->emit(step(i));
    EXPECT_TRUE(log->flush(milliseconds(100)));
  }
  close(writer_);
  EXPECT_EQ(read_all(), read_file(path()));
  EXPECT_TRUE(problems_.empty());
}

TEST_P(DescriptorTest, ClosedReaderNeitherKillsNorStops) {
  ::signal(SIGPIPE, SIG_DFL);  // would end the test program
  auto log = open(writer_);
  log->emit(step(1));
  close_reader();
  log->emit(step(2));
  log->emit(step(3));
  EXPECT_EQ(in_file().size(), 3U);
  ASSERT_EQ(problems_.size(), 1U);
  EXPECT_NE(problems_[0].find("Broken pipe"), std::string::npos) << problems_[0];
  EXPECT_EQ(log->dropped_from_descriptor(), 1);
  sigset_t pending;
  ASSERT_EQ(sigpending(&pending), 0);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
}

// Goal: a reader that sleeps costs no time and bounded memory, and sees whole lines and the newest
// important ones when it wakes. Method: far more bytes than pipe and queue hold, no reader at
// first.
TEST_P(DescriptorTest, SleepingReaderIsNotWaitedFor) {
  auto log = open(writer_);
  log->emit(warning("first"));
  const std::string detail(2000, 'd');
  for (int i = 1; i <= 4000; ++i) log->emit(step(i));
  log->emit(StageEvent{Stage::kExport, detail});
  log->emit(ExitRecord{});
  EXPECT_GT(log->dropped_from_descriptor(), 0);
  EXPECT_EQ(in_file().size(), 4003U);
  EXPECT_FALSE(log->flush(milliseconds(10)));
  std::string text;
  std::thread reader([&] { text = read_all(); });
  EXPECT_TRUE(log->flush(milliseconds(20'000)));
  close(writer_);
  reader.join();
  writer_ = -1;
  const auto events = events_of(text);  // whole lines only
  EXPECT_EQ(static_cast<std::int64_t>(events.size()), 4003 - log->dropped_from_descriptor());
  EXPECT_LE(text.size(), EventLog::kMaxQueuedBytes + (1 << 20));
  EXPECT_EQ(event_type(events.front().body), "warning");
  EXPECT_EQ(event_type(events[events.size() - 2].body), "stage");
  EXPECT_EQ(event_type(events.back().body), "exit");
  for (std::size_t i = 1; i < events.size(); ++i) {
    ASSERT_GT(events[i].header.seq, events[i - 1].header.seq);
  }
}

TEST_P(DescriptorTest, ManyThreadsMayEmit) {
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  std::string text;
  std::thread reader([&] { text = read_all(); });
  {
    auto log = open(writer_);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&log] {
        for (int i = 0; i < kEach; ++i) log->emit(step(i));
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(log->flush(milliseconds(20'000)));
  }
  close(writer_);
  reader.join();
  writer_ = -1;
  const auto events = in_file();
  ASSERT_EQ(events.size(), std::size_t{kThreads} * kEach);
  for (std::size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].header.seq, i + 1);
  EXPECT_EQ(text, read_file(path()));
}

INSTANTIATE_TEST_SUITE_P(Channels, DescriptorTest,
                         ::testing::Values(Channel::kPipe, Channel::kSocket),
                         [](const auto& channel) {
                           return channel.param == Channel::kPipe ? "Pipe" : "Socket";
                         });

TEST_F(EventLogTest, DescriptorThatIsNotOpenIsLetGo) {
  auto log = open(9999);
  log->emit(step(1));
  EXPECT_EQ(in_file().size(), 1U);
  EXPECT_EQ(problems_.size(), 1U);
  EXPECT_TRUE(log->flush(milliseconds(0)));
}

TEST_F(EventLogTest, DescriptorMayBeAFile) {
  const int file = ::open(folder_.file("copy.jsonl").c_str(), O_CREAT | O_WRONLY, 0600);
  ASSERT_GE(file, 0);
  open(file)->emit(step(1));
  ::close(file);
  EXPECT_EQ(read_file(folder_.file("copy.jsonl")), read_file(path()));
}

}  // namespace
}  // namespace ratchet::trainer

// The agent's parts alone: processes, the event tail, folders, the cache's files, evidence, facts.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>

#include "agent/daemon/artifact_client.h"
#include "agent/daemon/cgroup.h"
#include "agent/daemon/disk_guard.h"
#include "agent/daemon/event_tail.h"
#include "agent/daemon/files.h"
#include "agent/daemon/gpu_probe.h"
#include "agent/daemon/kernel_log.h"
#include "agent/daemon/node_facts.h"
#include "agent/daemon/process.h"
#include "agent/daemon/state_folder.h"
#include "agent/daemon/trainer_control.h"
#include "agent/daemon/trainer_log.h"
#include "proto/socket_path.h"
#include "tests/support/files.h"

namespace ratchet::agent {
namespace {

namespace fs = std::filesystem;
using testing::TempFolder;

void write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary | std::ios::app) << text;
}

SpawnArgs shell(const TempFolder& folder, const std::string& script) {
  SpawnArgs args;
  args.program = "/bin/sh";
  args.arguments = {"-c", script};
  args.folder = folder.path();
  args.log = folder.path() / "log";
  return args;
}

ProcessEnd wait_for_end(TrainerProcess& process) {
  for (int i = 0; i < 1000; ++i) {
    if (const auto end = process.reap()) return *end;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ADD_FAILURE() << "the process did not end";
  return {};
}

const TrainerProcess::Persist kNoRecord = [](const ProcessIdentity&) { return ok(); };

TEST(Process, ItsStatusAndOutputAreKept) {
  const TempFolder folder;
  auto process = TrainerProcess::start(shell(folder, "echo said; exit 7"), kNoRecord);
  ASSERT_TRUE(process);
  const ProcessEnd end = wait_for_end(*process);
  EXPECT_TRUE(end.known);
  EXPECT_EQ(end.exit_code, 7);
  EXPECT_EQ(last_words(folder.path() / "log", 100), "said\n");
}

TEST(Process, ASignalIsTold) {
  const TempFolder folder;
  auto process = TrainerProcess::start(shell(folder, "kill -SEGV $$"), kNoRecord);
  ASSERT_TRUE(process);
  EXPECT_EQ(wait_for_end(*process).signal, SIGSEGV);
}

TEST(Process, NothingRunsWhenItsRecordCannotBeStored) {
  const TempFolder folder;
  const auto process = TrainerProcess::start(
      shell(folder, "touch ran"),
      [](const ProcessIdentity&) -> Status { return Error{Code::kNoSpace, "full"}; });
  EXPECT_FALSE(process);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(fs::exists(folder.path() / "ran"));
}

TEST(Process, AMissingProgramIsNamed) {
  const TempFolder folder;
  SpawnArgs args = shell(folder, "");
  args.program = "/nowhere/ratchet-trainer";
  const auto process = TrainerProcess::start(args, kNoRecord);
  ASSERT_FALSE(process);
  EXPECT_NE(process.error().message.find("/nowhere/ratchet-trainer"), std::string::npos);
}

TEST(Process, AnotherProcessWithItsNumberIsNotIt) {
  const TempFolder folder;
  auto process = TrainerProcess::start(shell(folder, "sleep 100"), kNoRecord);
  ASSERT_TRUE(process);
  ProcessIdentity other = process->identity();
  ASSERT_TRUE(is_alive(other));
  EXPECT_TRUE(TrainerProcess::attach(other));
  other.start_time += 1;
  EXPECT_FALSE(is_alive(other));
  EXPECT_FALSE(TrainerProcess::attach(other));
  other = process->identity();
  other.boot_id = "another boot";
  EXPECT_FALSE(TrainerProcess::attach(other));
  process->signal_group(SIGKILL);
  wait_for_end(*process);
}

TEST(Process, AStoppedProcessIsAliveAndCanBeKilled) {
  const TempFolder folder;
  auto process = TrainerProcess::start(shell(folder, "sleep 100"), kNoRecord);
  ASSERT_TRUE(process);
  process->signal_group(SIGSTOP);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(is_alive(process->identity()));
  EXPECT_FALSE(process->reap());
  process->signal_group(SIGKILL);
  EXPECT_EQ(wait_for_end(*process).signal, SIGKILL);
}

TEST(Process, WhatItLeavesBehindGoesWithIt) {
  const TempFolder folder;
  auto process =
      TrainerProcess::start(shell(folder, "sleep 100 & echo $! > child; exit 0"), kNoRecord);
  ASSERT_TRUE(process);
  wait_for_end(*process);
  std::ifstream in(folder.path() / "child");
  pid_t child = 0;
  in >> child;
  ASSERT_GT(child, 0);
  for (int i = 0; i < 200; ++i) {
    const auto stat = process_stat(child);
    if (!stat || stat->state == 'Z') return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ADD_FAILURE() << "the child lives";
}

TEST(Process, StatIsReadWhateverTheNameIs) {
  const auto stat = parse_process_stat(
      "42 (a) b (c) S 1 42 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1\n");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->group, 42);
  EXPECT_EQ(stat->session, 40);
  EXPECT_EQ(stat->start_time, 98765U);
  EXPECT_FALSE(parse_process_stat(""));
  EXPECT_FALSE(parse_process_stat("42 (x) S 1"));
  EXPECT_FALSE(parse_process_stat("42 (x)"));
}

TEST(Process, RecordsSurviveTheDisk) {
  ProcessRecord record;
  record.identity = {42, 98765, "boot"};
  record.epoch = 3;
  record.gpus = {"GPU-1"};
  const auto back = decode_process_record(encode_process_record(record));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->identity, record.identity);
  EXPECT_EQ(back->epoch, 3);
  EXPECT_EQ(back->gpus, record.gpus);
  for (const char* text : {"", "{}", "{\"pid\":-1}", "[1]"}) {
    EXPECT_FALSE(decode_process_record(text)) << text;
  }
}

std::string line(std::uint64_t seq, std::int64_t step) {
  Event event;
  event.header.seq = seq;
  event.header.job_id = JobId("job");
  StepEvent body;
  body.step = step;
  event.body = body;
  return encode_event(event) + "\n";
}

TEST(EventTail, OnlyWholeLinesCount) {
  const TempFolder folder;
  const fs::path file = folder.path() / "events.jsonl";
  EventTail tail(file, {});
  EXPECT_TRUE(tail.poll().empty());
  const std::string second = line(2, 2);
  write(file, line(1, 1) + second.substr(0, 20));
  ASSERT_EQ(tail.poll().size(), 1U);
  EXPECT_TRUE(tail.poll().empty());
  write(file, second.substr(20));
  const auto seen = tail.poll();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].seq, 2U);
  EXPECT_TRUE(seen[0].event);
}

TEST(EventTail, LinesComeAgainUntilTheyAreAcknowledged) {
  const TempFolder folder;
  const fs::path file = folder.path() / "events.jsonl";
  for (std::uint64_t seq = 1; seq <= 10; ++seq) write(file, line(seq, 1));
  EventTail tail(file, {});
  tail.poll();
  EXPECT_EQ(tail.waiting(), 10U);
  EXPECT_EQ(tail.unacknowledged(4, 1 << 20).size(), 4U);
  EXPECT_EQ(tail.unacknowledged(100, 1 << 20).front().seq, 1U);
  tail.acknowledge(6);
  EXPECT_EQ(tail.unacknowledged(100, 1 << 20).front().seq, 7U);
  tail.acknowledge(2);
  EXPECT_EQ(tail.cursor().seq, 6U);

  EventTail again(file, decode_cursor(encode_cursor(tail.cursor())));
  EXPECT_EQ(again.unacknowledged(100, 1 << 20).size(), 4U);
  EventTail lost(file, decode_cursor("damaged"));
  EXPECT_EQ(lost.unacknowledged(100, 1 << 20).size(), 10U);
}

TEST(EventTail, UnknownAndEndlessLinesAreSurvived) {
  const TempFolder folder;
  const fs::path file = folder.path() / "events.jsonl";
  write(file, "{\"schema\":\"event/1\",\"type\":\"of tomorrow\",\"seq\":1}\n");
  write(file, std::string(3 << 20, 'x') + "\n");
  write(file, line(2, 5));
  EventTail tail(file, {});
  std::vector<SeenLine> seen;
  do {
    for (SeenLine& item : tail.poll()) seen.push_back(std::move(item));
  } while (tail.has_more());
  ASSERT_GE(seen.size(), 2U);
  EXPECT_EQ(seen.front().seq, 1U);
  EXPECT_FALSE(seen.front().event);
  EXPECT_EQ(seen.back().seq, 2U);
  EXPECT_TRUE(seen.back().event);
  const auto lines = tail.unacknowledged(100, 1 << 20);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines.back().seq, 2U);
}

DesiredAttempt desired(const std::string& job, std::int64_t epoch) {
  DesiredAttempt out;
  out.job_id = JobId(job);
  out.run_id = RunId(job);
  out.attempt_no = epoch;
  out.epoch = epoch;
  out.job_spec = "{}";
  out.inputs.base_model.artifact_id = "base";
  out.inputs.train.node_path = "/data/train.jsonl";
  return out;
}

TEST(StateFolder, WhatWasSavedIsFoundAgain) {
  const TempFolder folder;
  AttemptNotes notes;
  notes.ordered = EndCause::kPreempted;
  notes.settled_step = 20;
  notes.acked_seq = 9;
  notes.uploaded.push_back({30, sha256_text("m"), sha256_text("p"), Bytes(5), "art"});
  notes.end = AttemptExit{EndCause::kOomHost, {}, "result"};
  const AttemptKey key{JobId("job"), 3};
  {
    auto state = StateFolder::open(folder.path());
    ASSERT_TRUE(state);
    ASSERT_TRUE(state->apply(SaveIdentity{"node-1", "secret"}));
    ASSERT_TRUE(state->apply(SaveIdentity{"node-1", ""}));
    ASSERT_TRUE(state->apply(SaveAttempt{desired("job", 3)}));
    ASSERT_TRUE(state->apply(SaveNotes{key, notes}));
    ASSERT_TRUE(state->apply(SaveAttempt{desired("old", 7)}));
    ASSERT_TRUE(state->apply(RemoveAttempt{{JobId("old"), 7}}));
    ProcessRecord record;
    record.identity.pid = 42;
    record.epoch = 3;
    ASSERT_TRUE(state->save_process(key, record));
    state->save_cursor(key, {9, 100});
  }
  auto state = StateFolder::open(folder.path());
  ASSERT_TRUE(state);
  EXPECT_EQ(state->identity().node_token, "secret");
  EXPECT_EQ(state->identity().epoch_floor.at(JobId("old")), 7);
  std::vector<std::string> complaints;
  const auto stored = state->load(complaints);
  EXPECT_TRUE(complaints.empty()) << complaints.front();
  ASSERT_EQ(stored.size(), 1U);
  EXPECT_EQ(stored[0].recovered.desired, desired("job", 3));
  EXPECT_TRUE(stored[0].recovered.notes == notes);
  EXPECT_TRUE(stored[0].recovered.started);
  EXPECT_EQ(stored[0].cursor.seq, 9U);
  struct stat stat{};
  ASSERT_EQ(::stat((folder.path() / "agent.json").c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 0777, 0600U);
}

TEST(StateFolder, IsOneAgentsAtATime) {
  const TempFolder folder;
  const auto first = StateFolder::open(folder.path());
  ASSERT_TRUE(first);
  const auto second = StateFolder::open(folder.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kFailedPrecondition);
}

TEST(StateFolder, ADamagedAttemptIsToldAndItsEpochCounts) {
  const TempFolder folder;
  write(folder.path() / "attempts/job/e5/desired.json", "{torn");
  write(folder.path() / "attempts/job/notes", "");
  auto state = StateFolder::open(folder.path());
  ASSERT_TRUE(state);
  std::vector<std::string> complaints;
  EXPECT_TRUE(state->load(complaints).empty());
  EXPECT_EQ(complaints.size(), 1U);
  EXPECT_EQ(state->identity().epoch_floor.at(JobId("job")), 5);
}

TEST(Files, SealingOutlivesTheOriginal) {
  const TempFolder folder;
  const fs::path from = folder.path() / "step-1";
  const fs::path to = folder.path() / "sealed" / "1-a";
  write(from / "MANIFEST.json", "m");
  write(from / "deep/data", "d");
  fs::create_directories(to.parent_path());
  ASSERT_TRUE(link_tree(from, to));
  ASSERT_TRUE(link_tree(from, to));
  fs::remove_all(from);
  EXPECT_EQ(read_file(to / "deep/data", 10).value(), "d");
  EXPECT_FALSE(link_tree(folder.path() / "absent", folder.path() / "x"));
  EXPECT_FALSE(fs::exists(folder.path() / "x"));
}

TEST(Files, ArtifactsHoldNoLinks) {
  const TempFolder folder;
  write(folder.path() / "a", "1");
  fs::create_symlink("/etc/passwd", folder.path() / "b");
  EXPECT_FALSE(list_files(folder.path()));
}

TEST(Files, ReadingIsBounded) {
  const TempFolder folder;
  write(folder.path() / "a", "12345");
  EXPECT_TRUE(read_file(folder.path() / "a", 5));
  EXPECT_FALSE(read_file(folder.path() / "a", 4));
  EXPECT_EQ(read_file(folder.path() / "b", 4).error().code, Code::kNotFound);
}

TEST(Artifact, PathsStayInTheirFolder) {
  for (const char* path :
       {"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.", ".", "..", "a/", "a\\b"}) {
    EXPECT_FALSE(is_safe_relative(path)) << path;
  }
  EXPECT_TRUE(is_safe_relative("a/b.c/d"));
  EXPECT_FALSE(decode_artifact(
      R"({"id":"x","state":"sealed","files":[{"path":"../x","bytes":1,"sha256":"0"}]})"));
  EXPECT_FALSE(decode_artifact(R"({"id":"../x","files":[]})"));
  EXPECT_FALSE(decode_artifact("garbage"));
  EXPECT_TRUE(decode_artifact(
      R"({"id":"x","state":"sealed","files":[{"path":"y","bytes":1,"sha256":"0"}]})"));
}

TEST(TrainerLog, OldPartsGoAndOffsetsStay) {
  const TempFolder folder;
  const fs::path file = folder.path() / "log";
  for (int i = 0; i < 64; ++i) write(file, std::string(65536, static_cast<char>('a' + i % 26)));
  write(file, "\nlast\n");
  trim_log(file, mebibytes(1));
  EXPECT_LE(disk_use(folder.path()).count(), mebibytes(2).count());
  EXPECT_EQ(fs::file_size(file), 64U * 65536 + 6);
  EXPECT_EQ(last_words(file, 100), "last\n");
}

// Recorded on a machine with cgroup v2 and its memory controller.
TEST(TrainerControl, ReachesASocketHoweverLongItsPathIs) {
  const TempFolder folder;
  const fs::path deep = folder.path() / std::string(200, 'a');
  fs::create_directories(deep);
  namespace asio = boost::asio;
  asio::io_context io;
  const auto path = SocketPath::open(deep / "control.sock");
  ASSERT_TRUE(path);
  const asio::local::stream_protocol::endpoint endpoint(path->name());
  asio::local::stream_protocol::acceptor trainer(io, endpoint);
  ControlResponse told;
  told.ok = true;
  told.verb = ControlVerb::kStatus;
  told.step = 17;
  std::thread answering([&] {
    auto peer = trainer.accept();
    std::string request;
    asio::read_until(peer, asio::dynamic_buffer(request), '\n');
    asio::write(peer, asio::buffer(encode_control_response(told) + "\n"));
  });
  auto asked = asio::co_spawn(
      io, ask_trainer(deep / "control.sock", ControlRequest{}, std::chrono::seconds(10)),
      asio::use_future);
  io.run();
  answering.join();
  const auto answer = asked.get();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->step, 17);
}

TEST(Cgroup, MemoryEventsAreReadFromARecordedTree) {
  const TempFolder folder;
  const fs::path group = folder.path() / "agent.slice";
  write(group / "cgroup.subtree_control", "cpu memory pids\n");
  write(group / "ratchet-job-e1/memory.events", "low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\n");
  const auto own =
      own_cgroup("0::/agent.slice\n", "30 24 0:26 / " + folder.path().string() +
                                          " rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
  ASSERT_TRUE(own);
  EXPECT_EQ(*own, group);
  EXPECT_TRUE(counts_memory(*own));
  EXPECT_EQ(oom_kills(*own / "ratchet-job-e1"), 1);
  EXPECT_EQ(oom_kills(*own / "absent"), 0);
}

TEST(Cgroup, WithoutTheMemoryControllerThereIsNone) {
  EXPECT_FALSE(own_cgroup("4:memory:/x\n", ""));
  EXPECT_FALSE(own_cgroup("0::/\n", "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"));
  EXPECT_FALSE(counts_memory("/nowhere"));
  EXPECT_EQ(parse_oom_kills("oom_kill x\n"), 0);
  EXPECT_EQ(parse_oom_kills("oom_kill_group 4\noom_kill 12"), 12);
}

TEST(Cgroup, ARealGroupCountsItsMembers) {
  const auto proc = read_file("/proc/self/cgroup", 1 << 16);
  const auto mounts = read_file("/proc/self/mountinfo", 1 << 20);
  const auto own = proc && mounts ? own_cgroup(*proc, *mounts) : std::nullopt;
  if (!own || !counts_memory(*own)) GTEST_SKIP() << "no cgroup memory controller";
  const auto group = make_cgroup(*own, "test-" + std::to_string(::getpid()));
  ASSERT_TRUE(group);
  EXPECT_EQ(oom_kills(*group), 0);
  remove_cgroup(*group);
  EXPECT_FALSE(fs::exists(*group));
}

TEST(KernelLog, XidsAndKillsAreFound) {
  const auto xid = parse_kernel_record(
      "3,1543,98765432,-;NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has "
      "fallen off the bus.\n SUBSYSTEM=pci\n");
  ASSERT_TRUE(xid);
  EXPECT_EQ(xid->xid, 79);
  EXPECT_EQ(xid->pci_bus, "0000:3b:00");
  EXPECT_EQ(xid->time_us, 98765432U);
  const auto oom = parse_kernel_record(
      "3,88,5,-;Memory cgroup out of memory: Killed process 4711 (ratchet-trainer) total-vm:1kB");
  ASSERT_TRUE(oom);
  EXPECT_EQ(oom->killed, 4711);
  for (const char* text :
       {"", ";", "3,1,2", "x,1,2,-;NVRM: Xid (PCI:0000:3b:00): 79", "6,1,2,-;eth0: link up",
        "3,1,2,-;NVRM: Xid (PCI:", "3,1,2,-;NVRM: Xid (PCI:0): -5,",
        // A program's line: facility 1.
        "11,1,2,-;Out of memory: Killed process 4711 (x)"}) {
    EXPECT_FALSE(parse_kernel_record(text)) << text;
  }
}

TEST(KernelLog, AMissingDeviceIsNoTrouble) {
  KernelLog log("/nowhere/kmsg");
  log.poll();
  EXPECT_FALSE(log.readable());
  EXPECT_TRUE(log.xids_since(0).empty());
}

TEST(GpuProbe, ADriverThatHangsIsLeftAlone) {
  auto release = std::make_shared<std::promise<void>>();
  auto gate = release->get_future().share();
  auto calls = std::make_shared<std::atomic<int>>(0);
  {
    GpuProbe probe([gate, calls]() -> Result<std::vector<Gpu>> {
      ++*calls;
      gate.wait();
      return std::vector<Gpu>{};
    });
    const auto first = probe.read(std::chrono::milliseconds(50));
    ASSERT_FALSE(first);
    EXPECT_NE(first.error().message.find("does not answer"), std::string::npos);
    EXPECT_FALSE(probe.read(std::chrono::milliseconds(50)));
    EXPECT_EQ(*calls, 1);
    release->set_value();
    Result<std::vector<Gpu>> later = Error{};
    for (int i = 0; i < 100 && !later; ++i) {
      later = probe.read(std::chrono::milliseconds(100));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_TRUE(later);
  }
}

TEST(GpuProbe, AMachineWithoutADriverHasNoGpus) {
  GpuProbe probe(nvml_reader());
  const auto gpus = probe.read(std::chrono::seconds(10));
  if (gpus && !gpus->empty()) {
    EXPECT_GT((*gpus)[0].facts.memory_total.count(), 0);
    EXPECT_FALSE((*gpus)[0].facts.uuid.empty());
  } else if (!fs::exists("/dev/nvidiactl")) {
    EXPECT_TRUE(gpus);
  }
}

TEST(Preflight, ItsAnswersAreUnderstood) {
  const Preflight good = parse_preflight(
      "a warning\n{\"passed\":true,\"kernel_ms\":1.5,\"device\":\"cpu\",\"message\":\"\"}\n", 0,
      "t");
  EXPECT_TRUE(good.facts.passed);
  EXPECT_EQ(good.facts.kernel_ms, 1.5);
  const Preflight bad = parse_preflight(
      "{\"passed\":false,\"kernel_ms\":0,\"device\":\"x\",\"message\":\"Wrong.\"}\nerror: Wrong.\n",
      1, "t");
  EXPECT_FALSE(bad.facts.passed);
  EXPECT_EQ(bad.facts.message, "Wrong.");
  const Preflight old = parse_preflight("The following argument was not expected", 2, "/bin/t");
  EXPECT_TRUE(old.facts.done);
  EXPECT_NE(old.facts.message.find("'/bin/t' has no preflight command"), std::string::npos);
  EXPECT_FALSE(parse_preflight("", -1, "t").facts.passed);
}

TEST(NodeFacts, MemoryIsReadFromTheKernelsTable) {
  EXPECT_EQ(parse_memory_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), mebibytes(16));
  EXPECT_EQ(parse_memory_total("nonsense"), Bytes(0));
  EXPECT_GT(memory_total().count(), 0);
  EXPECT_GE(usable_cores(), 1);
}

TEST(DiskGuard, FullAndRoomyAreApart) {
  const Bytes reserve = mebibytes(100);
  const Bytes checkpoint = mebibytes(50);
  const auto judge = [&](std::int64_t free, bool was_full) {
    return judge_disk({mebibytes(free), checkpoint, reserve}, was_full);
  };
  EXPECT_EQ(judge(300, false), DiskVerdict::kRoom);
  EXPECT_EQ(judge(160, false), DiskVerdict::kTight);
  EXPECT_EQ(judge(149, false), DiskVerdict::kFull);
  EXPECT_EQ(judge(160, true), DiskVerdict::kFull);
  EXPECT_EQ(judge(250, true), DiskVerdict::kRoom);
  EXPECT_EQ(judge_disk({mebibytes(160) + disk_shortage({mebibytes(160), checkpoint, reserve}),
                        checkpoint, reserve},
                       true),
            DiskVerdict::kRoom);
}

}  // namespace
}  // namespace ratchet::agent

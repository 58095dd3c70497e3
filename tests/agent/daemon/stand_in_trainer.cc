// A trainer for tests of the agent: the trainer's files, events, exit codes and signals, without
// training. The job's notes say how it behaves, words separated by blanks:
//   step_ms=N   time of a step (5)         crash_at=N   aborts after step N
//   mute_stop   no control socket          hang_at=N    stops writing after step N
//   bad_preflight is not a word of jobs: STAND_IN_PREFLIGHT=fail in the environment is.

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "agent/daemon/files.h"
#include "proto/attempt_spec.h"
#include "proto/control_message.h"
#include "proto/events.h"

namespace fs = std::filesystem;
using namespace ratchet;

namespace {

volatile sig_atomic_t stopped = 0;
void on_stop(int /*signal*/) { stopped = 1; }

std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::int64_t number(const std::string& notes, const std::string& word, std::int64_t otherwise) {
  const std::size_t at = notes.find(word + "=");
  return at == std::string::npos ? otherwise : std::atoll(notes.c_str() + at + word.size() + 1);
}

class StandIn {
 public:
  explicit StandIn(AttemptSpec spec) : spec_(std::move(spec)), out_(spec_.output_dir) {
    fs::create_directories(out_ / "ckpt");
    events_ = std::fopen((out_ / "events.jsonl").c_str(), "a");
    if (spec_.job.notes.find("mute_stop") == std::string::npos) listen();
  }

  int run() {
    const std::string& notes = spec_.job.notes;
    const std::int64_t total = spec_.job.training.max_steps.value_or(10);
    std::int64_t step = 0;
    emit(StageEvent{Stage::kValidation, ""});
    if (spec_.resume.mode == ResumeMode::kPath) {
      step = std::atoll(text_of(fs::path(spec_.resume.path) / "step").c_str());
      ResumeEvent resumed;
      resumed.step = step;
      resumed.path = spec_.resume.path;
      emit(resumed);
    }
    emit(StageEvent{Stage::kTraining, ""});
    while (step < total) {
      std::this_thread::sleep_for(std::chrono::milliseconds(number(notes, "step_ms", 5)));
      if (stopped == 1 || stop_asked()) return leave(ExitKind::kPreempted, step);
      ++step;
      StepEvent event;
      event.step = step;
      event.total_steps = total;
      event.loss = 1.0 / static_cast<double>(step);
      event.tokens = 10;
      emit(event);
      std::printf("step %lld\n", static_cast<long long>(step));
      std::fflush(stdout);
      if (step % spec_.job.checkpoint.interval_steps == 0) {
        save(step, CheckpointReason::kInterval);
      }
      if (step == number(notes, "crash_at", -1)) std::abort();
      while (step == number(notes, "hang_at", -1)) ::pause();
    }
    save(step, CheckpointReason::kEnd);
    fs::create_directories(out_ / "adapter");
    std::ofstream(out_ / "adapter" / "adapter_model.safetensors") << "weights of " << step;
    return leave(ExitKind::kCompleted, step);
  }

 private:
  void emit(EventBody body) {
    Event event;
    event.header = {++seq_, UnixMillis(1), spec_.job_id, spec_.attempt_no, spec_.epoch};
    event.body = std::move(body);
    std::fprintf(events_, "%s\n", encode_event(event).c_str());
    std::fflush(events_);
  }

  void save(std::int64_t step, CheckpointReason reason) {
    char name[32];
    std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
    const fs::path folder = out_ / "ckpt" / name;
    if (fs::exists(folder)) return;
    fs::create_directories(folder);
    std::ofstream(folder / "step") << step;
    std::ofstream(folder / "data") << std::string(100000, 'd') << step << spec_.job_id.str();
    std::ofstream(folder / "MANIFEST.json") << "{\"step\":" << step << "}";
    CheckpointEvent event;
    event.step = step;
    event.reason = reason;
    event.path = folder.string();
    event.manifest_sha256 = agent::sha256_text("{\"step\":" + std::to_string(step) + "}");
    event.size = Bytes(100000);
    emit(event);
    // As the trainer's retention: only the newest stays under the trainer's own name.
    if (!last_.empty()) fs::remove_all(last_);
    last_ = folder;
  }

  int leave(ExitKind kind, std::int64_t step) {
    if (kind == ExitKind::kPreempted && step > 0) save(step, CheckpointReason::kStop);
    ExitRecord record;
    record.kind = kind;
    record.message = "The stand-in left.";
    record.step = step;
    record.stage = "training";
    emit(record);
    if (client_ >= 0) ::close(client_);
    return exit_code(kind);
  }

  void listen() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (out_ / "control.sock").string();
    if (path.size() >= sizeof address.sun_path) return;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket_, 4) != 0) {
      std::abort();
    }
  }

  bool stop_asked() {
    pollfd ready{socket_, POLLIN, 0};
    if (socket_ < 0 || ::poll(&ready, 1, 0) != 1) return false;
    client_ = ::accept(socket_, nullptr, nullptr);
    char line[4096];
    const ssize_t got = ::read(client_, line, sizeof line);
    const auto request = decode_control_request(
        std::string_view(line, static_cast<std::size_t>(got > 1 ? got - 1 : 0)));
    return request && request->verb == ControlVerb::kStop;
  }

  AttemptSpec spec_;
  fs::path out_;
  fs::path last_;
  std::FILE* events_ = nullptr;
  std::uint64_t seq_ = 0;
  int socket_ = -1;
  int client_ = -1;
};

int preflight() {
  const char* wish = std::getenv("STAND_IN_PREFLIGHT");
  const bool fails = wish != nullptr && std::string(wish) == "fail";
  std::printf("{\"passed\":%s,\"kernel_ms\":0.5,\"device\":\"cpu\",\"message\":\"%s\"}\n",
              fails ? "false" : "true", fails ? "It cannot multiply." : "");
  return fails ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc >= 2 && std::string(argv[1]) == "preflight") return preflight();
  if (argc < 3) return 2;
  ::signal(SIGTERM, on_stop);
  const auto spec = decode_attempt_spec(text_of(argv[2]));
  if (!spec.ok()) {
    std::fprintf(stderr, "%s", format_findings(spec.findings).c_str());
    return 1;
  }
  return StandIn(*spec.value).run();
}

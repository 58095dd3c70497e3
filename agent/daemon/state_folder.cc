#include "agent/daemon/state_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/daemon/files.h"
#include "proto/document.h"

namespace ratchet::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxStateFile = 8 * 1024 * 1024;
constexpr std::size_t kMaxFloors = 100000;

Result<AgentIdentity> decode_identity(std::string_view text) {
  FindingList findings;
  AgentIdentity identity;
  if (const auto document = Document::parse(text, {.max_bytes = kMaxStateFile}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    root.text("node_id", identity.node_id);
    root.text("node_token", identity.node_token);
    for (ObjectReader& floor : root.objects("epoch_floor", kMaxFloors)) {
      std::string job;
      std::int64_t epoch = 0;
      if (floor.id("job_id", job) && floor.integer("epoch", epoch, {0})) {
        identity.epoch_floor[JobId(job)] = epoch;
      }
    }
  }
  if (!findings.empty()) return findings_error("The agent's record", findings.take());
  return identity;
}

// "e12" -> 12.
std::optional<std::int64_t> epoch_of(const std::string& name) {
  std::int64_t epoch = 0;
  const char* end = name.data() + name.size();
  if (name.size() < 2 || name[0] != 'e') return std::nullopt;
  const auto [stop, failed] = std::from_chars(name.data() + 1, end, epoch);
  return failed == std::errc() && stop == end ? std::optional(epoch) : std::nullopt;
}

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code failed;
  fs::directory_iterator entry(folder, failed);
  for (; !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
    if (entry->is_directory(failed)) out.push_back(entry->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<StoredAttempt> load_attempt(const fs::path& folder, std::vector<std::string>& complaints) {
  const auto text = read_file(folder / "desired.json", kMaxSyncBytes);
  if (!text) return text.error();
  auto desired = decode_desired_attempt(*text);
  if (!desired) return desired.error();
  StoredAttempt out;
  out.recovered.desired = *std::move(desired);
  if (const auto notes = read_file(folder / "notes.json", kMaxStateFile)) {
    // Losing notes is harmless: what they say is told again and settled again.
    auto decoded = decode_notes(*notes);
    if (decoded) {
      out.recovered.notes = *std::move(decoded);
    } else {
      complaints.push_back(decoded.error().message);
    }
  }
  if (const auto record = read_file(folder / "process.json", kMaxStateFile)) {
    if (auto decoded = decode_process_record(*record)) out.process = *std::move(decoded);
  }
  out.recovered.started = out.process.has_value();
  if (const auto cursor = read_file(folder / "cursor.json", kMaxStateFile)) {
    out.cursor = decode_cursor(*cursor);
  }
  return out;
}

}  // namespace

std::string encode_notes(const AttemptNotes& notes) {
  // The parts that also cross the wire are written by the wire's own encoder.
  AttemptReport report;
  report.job_id = JobId("notes");
  report.attempt_no = 1;
  report.epoch = 1;
  report.sealed = notes.uploaded;
  report.exit = notes.end;
  report.state = notes.end ? AttemptState::kEnded : AttemptState::kAccepted;
  nlohmann::json object = {{"settled_step", notes.settled_step},
                           {"acked_seq", notes.acked_seq},
                           {"result_artifact", notes.result_artifact},
                           {"end_acked", notes.end_acked},
                           {"report", encode(report)}};
  if (notes.ordered) object["ordered"] = to_word(*notes.ordered);
  return object.dump() + "\n";
}

Result<AttemptNotes> decode_notes(std::string_view text) {
  FindingList findings;
  AttemptNotes notes;
  std::string report_text;
  if (const auto document = Document::parse(text, {.max_bytes = kMaxStateFile}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    std::int64_t acked_seq = 0;
    EndCause ordered{};
    root.integer("settled_step", notes.settled_step, {-1});
    root.integer("acked_seq", acked_seq, {0});
    root.text("result_artifact", notes.result_artifact);
    root.boolean("end_acked", notes.end_acked);
    root.text("report", report_text, {.max_length = kMaxSyncBytes, .kind = TextKind::kAny});
    if (root.word("ordered", ordered)) notes.ordered = ordered;
    notes.acked_seq = static_cast<std::uint64_t>(acked_seq);
  }
  if (!findings.empty()) return findings_error("The notes of an attempt", findings.take());
  auto report = decode_attempt_report(report_text);
  if (!report) return report.error();
  notes.uploaded = std::move(report->sealed);
  notes.end = std::move(report->exit);
  return notes;
}

Result<StateFolder> StateFolder::open(const fs::path& root) {
  for (const char* name : {"attempts", "sealed", "cache"}) {
    if (Status made = make_folders(root / name); !made) return made.error();
  }
  const fs::path lock_path = root / "agent.lock";
  const int lock = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock < 0) return io_error("Cannot open '" + lock_path.string() + "'", errno);
  StateFolder folder(root, lock);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return Error{Code::kFailedPrecondition,
                 "Another agent runs on the state folder '" + root.string() +
                     "'. Stop it, or give this one a folder of its own with --state."};
  }
  const auto text = read_file(root / "agent.json", kMaxStateFile);
  if (text) {
    auto identity = decode_identity(*text);
    if (!identity) return identity.error();
    folder.identity_ = *std::move(identity);
  } else if (text.error().code != Code::kNotFound) {
    return text.error();
  }
  return folder;
}

StateFolder::StateFolder(StateFolder&& other) noexcept
    : root_(std::move(other.root_)),
      lock_(std::exchange(other.lock_, -1)),
      identity_(std::move(other.identity_)) {}

StateFolder::~StateFolder() {
  if (lock_ >= 0) ::close(lock_);
}

std::vector<StoredAttempt> StateFolder::load(std::vector<std::string>& complaints) {
  std::vector<StoredAttempt> out;
  for (const fs::path& job : folders_in(root_ / "attempts")) {
    for (const fs::path& folder : folders_in(job)) {
      const auto epoch = epoch_of(folder.filename().string());
      auto stored = epoch ? load_attempt(folder, complaints)
                          : Result<StoredAttempt>(Error{Code::kCorrupt, "Not an attempt."});
      const bool fits = stored && stored->recovered.desired.epoch == *epoch &&
                        stored->recovered.desired.job_id.str() == job.filename().string();
      if (fits) {
        out.push_back(*std::move(stored));
      } else {
        // Its epoch counts all the same: a trainer may have run under it.
        if (epoch) {
          std::int64_t& floor = identity_.epoch_floor[JobId(job.filename().string())];
          floor = std::max(floor, *epoch);
        }
        complaints.push_back("The attempt in '" + folder.string() + "' cannot be read: " +
                             (stored ? "it belongs elsewhere." : stored.error().message));
      }
    }
  }
  return out;
}

Status StateFolder::apply(const Save& save) {
  if (const auto* identity = std::get_if<SaveIdentity>(&save)) {
    identity_.node_id = identity->node_id;
    if (!identity->node_token.empty()) identity_.node_token = identity->node_token;
    return save_identity();
  }
  if (const auto* made = std::get_if<SaveAttempt>(&save)) {
    const fs::path folder = attempt({made->desired.job_id, made->desired.epoch});
    if (Status done = make_folders(folder); !done) return done;
    if (Status done = write_atomically(folder / "desired.json", encode(made->desired)); !done) {
      return done;
    }
    // The folders' own entries must be durable too.
    if (Status done = sync_folder(folder.parent_path()); !done) return done;
    return sync_folder(root_ / "attempts");
  }
  if (const auto* notes = std::get_if<SaveNotes>(&save)) {
    return write_atomically(attempt(notes->key) / "notes.json", encode_notes(notes->notes));
  }
  return remove_attempt(std::get<RemoveAttempt>(save).key);
}

Status StateFolder::save_process(const AttemptKey& key, const ProcessRecord& record) {
  return write_atomically(attempt(key) / "process.json", encode_process_record(record));
}

void StateFolder::save_cursor(const AttemptKey& key, const TailCursor& cursor) {
  // Not worth an fsync: losing it costs reading the file again.
  const fs::path path = attempt(key) / "cursor.json";
  const fs::path temporary = path.string() + ".new";
  const std::string text = encode_cursor(cursor);
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  const bool whole = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  if (whole) ::rename(temporary.c_str(), path.c_str());
}

fs::path StateFolder::attempt(const AttemptKey& key) const {
  return root_ / "attempts" / key.job_id.str() / ("e" + std::to_string(key.epoch));
}

fs::path StateFolder::output(const AttemptKey& key) const { return attempt(key) / "out"; }

fs::path StateFolder::sealed(const JobId& job, std::int64_t step,
                             const std::string& manifest_sha256) const {
  std::string number = std::to_string(step);
  number.insert(0, number.size() < 8 ? 8 - number.size() : 0, '0');
  return root_ / "sealed" / job.str() / (number + "-" + manifest_sha256.substr(0, 16));
}

Status StateFolder::save_identity() {
  nlohmann::json floors = nlohmann::json::array();
  for (const auto& [job, epoch] : identity_.epoch_floor) {
    floors.push_back({{"job_id", job.str()}, {"epoch", epoch}});
  }
  const nlohmann::json object = {{"node_id", identity_.node_id},
                                 {"node_token", identity_.node_token},
                                 {"epoch_floor", floors}};
  return write_atomically(root_ / "agent.json", object.dump(1) + "\n", 0600);
}

Status StateFolder::remove_attempt(const AttemptKey& key) {
  std::int64_t& floor = identity_.epoch_floor[key.job_id];
  floor = std::max(floor, key.epoch);
  if (Status saved = save_identity(); !saved) return saved;
  // desired.json goes first: a half-removed folder must not come back as an attempt.
  ::unlink((attempt(key) / "desired.json").c_str());
  Status removed = remove_tree(attempt(key));
  std::error_code ignored;
  fs::remove(attempt(key).parent_path(), ignored);  // only when it is empty
  return removed;
}

}  // namespace ratchet::agent

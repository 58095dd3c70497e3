#pragma once

// Random sync messages: every field takes fresh values, also at its bounds.

#include <algorithm>
#include <random>
#include <string>
#include <string_view>

#include "proto/sync_message.h"

namespace ratchet::testing {

class RandomSync {
 public:
  explicit RandomSync(std::uint64_t seed) : random_(seed) {}

  HelloRequest hello_request() {
    return {maybe_id(), id(), maybe_id(), facts(), list<AttemptReport>(3, &RandomSync::report)};
  }
  HelloResponse hello_response() {
    return {id(), maybe_id(), id(), millis(1), millis(1), millis(1), millis(0)};
  }
  HeartbeatRequest heartbeat_request() { return {id(), id(), count()}; }
  HeartbeatResponse heartbeat_response() { return {id(), integer(), millis(0), millis(0)}; }
  SyncRequest sync_request() {
    SyncRequest out{id(),
                    id(),
                    count(),
                    maybe_id(),
                    integer(),
                    millis(0),
                    facts(),
                    list<AttemptReport>(4, &RandomSync::report),
                    list<TrainerLine>(5, &RandomSync::line),
                    {}};
    if (coin()) out.notice = notice();
    return out;
  }
  SyncResponse sync_response() {
    SyncResponse out;
    out.boot_id = id();
    out.desired_rev = integer();
    out.contact_ttl = millis(0);
    out.authority_ttl = millis(0);
    out.inventory_open = coin();
    out.desired = list<DesiredAttempt>(4, &RandomSync::desired);
    out.verdicts = list<CheckpointVerdict>(4, &RandomSync::verdict);
    out.acked_lines = list<LineCursor>(4, &RandomSync::cursor);
    out.acked_ends = list<LineCursor>(4, &RandomSync::cursor);
    out.node_want = word<NodeWant>();
    out.node_deadline = millis(0);
    if (coin()) out.simulate = notice();
    return out;
  }
  NoticeRequest notice_request() { return {id(), id(), notice()}; }

  DesiredAttempt desired() {
    DesiredAttempt out{JobId(id()), RunId(id()),      positive(), integer(), word<Want>(),
                       millis(0),   word<EndCause>(), text(),     inputs(),  {}};
    if (coin()) out.resume = ResumeFrom{integer(), digest(), id()};
    return out;
  }
  JobInputs inputs() {
    JobInputs out{input(), input(), {}, {}, {}};
    if (coin()) out.validation = input();
    if (coin()) out.chat_template = input();
    if (coin()) out.init_adapter = input();
    return out;
  }
  AttemptReport report() {
    AttemptReport out;
    out.job_id = JobId(id());
    out.attempt_no = positive();
    out.epoch = integer();
    out.state = word<AttemptState>();
    out.stage = text();
    out.step = integer();
    out.total_steps = integer();
    out.resumed_from_step = coin() ? -1 : integer();
    out.replayed_steps = integer();
    out.step_age = millis(0);
    out.sealed = list<SealedCheckpoint>(4, &RandomSync::sealed);
    if (out.state == AttemptState::kEnded) out.exit = exit();
    return out;
  }

  std::size_t below(std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
  }
  bool coin() { return below(2) == 0; }

 private:
  template <class T>
  std::vector<T> list(std::size_t most, T (RandomSync::*make)()) {
    std::vector<T> out(below(most + 1));
    for (T& value : out) value = (this->*make)();
    return out;
  }
  template <class E>
  E word() {
    const auto table = word_table(E{});
    return table[below(table.size())].value;
  }
  std::string characters(std::string_view from, std::size_t length) {
    std::string out;
    for (std::size_t i = 0; i < length; ++i) out += from[below(from.size())];
    return out;
  }
  std::string id() {
    return characters("abcXYZ019_-", 1) + characters("abcXYZ019._-", below(kMaxIdLength));
  }
  std::string maybe_id() { return coin() ? std::string() : id(); }
  std::string digest() { return characters("0123456789abcdef", 64); }
  std::string text() {
    static constexpr std::string_view kPieces[] = {
        "a", "\"", "\\", "\n", "\t", "\xC3\xA9", "\x01", "{", "}", " ", "/", "\xF0\x9F\x98\x80"};
    std::string out;
    for (std::size_t i = below(20); i > 0; --i) out += kPieces[below(std::size(kPieces))];
    return out;
  }
  std::int64_t integer() {
    const std::size_t kind = below(4);
    if (kind == 0) return 0;
    if (kind == 1) return std::numeric_limits<std::int64_t>::max();
    return static_cast<std::int64_t>(random_() >> (1 + below(62)));
  }
  std::int64_t positive() { return std::max<std::int64_t>(1, integer()); }
  std::uint64_t count() { return static_cast<std::uint64_t>(integer()); }
  double number() { return std::uniform_real_distribution<double>(0, 1e6)(random_); }
  Millis millis(std::int64_t least) {
    return Millis(std::max(least, integer() % (kMaxSyncMillis.count() + 1)));
  }
  Bytes bytes() { return Bytes(integer()); }

  GpuFacts gpu() {
    GpuFacts out{text(), text(), bytes(), bytes(), {}};
    for (std::size_t i = below(4); i > 0; --i) {
      out.xids.push_back(static_cast<std::int64_t>(below(0x100000000)));
    }
    return out;
  }
  NodeFacts facts() {
    NodeFacts out;
    out.name = text();
    out.provider = text();
    out.price = word<NodePrice>();
    out.usd_per_hour = number();
    out.gpus = list<GpuFacts>(4, &RandomSync::gpu);
    out.slots = static_cast<std::int64_t>(below(kMaxNodeGpus + 1));
    out.cpu_cores = integer();
    out.memory_total = bytes();
    out.disk_free = bytes();
    out.cache_used = bytes();
    out.disk_full = coin();
    out.preflight = {coin(), coin(), number(), text()};
    out.agent_version = text();
    out.trainer_version = text();
    return out;
  }
  SealedCheckpoint sealed() {
    return {integer(), digest(), coin() ? "" : digest(), bytes(), maybe_id()};
  }
  AttemptExit exit() {
    AttemptExit out{word<EndCause>(), {}, maybe_id()};
    out.record.kind = word<ExitKind>();
    out.record.message = text();
    out.record.step = integer();
    out.record.stage = text();
    out.record.resumable = coin();
    if (coin()) out.record.evidence["flag"] = coin();
    if (coin()) out.record.evidence["integer"] = -integer();
    if (coin()) out.record.evidence["number"] = number();
    if (coin()) out.record.evidence["text"] = text();
    if (coin()) out.record.evidence["texts"] = std::vector<std::string>{text(), text()};
    return out;
  }
  TrainerLine line() { return {JobId(id()), positive(), integer(), count(), text()}; }
  ReclaimNotice notice() {
    return {text(), word<NoticeKind>(), text(), text(), coin() ? Millis(-1) : millis(0)};
  }
  InputRef input() { return coin() ? InputRef{id(), ""} : InputRef{"", "/data/" + id()}; }
  CheckpointVerdict verdict() {
    return {JobId(id()), integer(), integer(), digest(), word<PublishVerdict>(), text()};
  }
  LineCursor cursor() { return {JobId(id()), positive(), count()}; }

  std::mt19937_64 random_;
};

}  // namespace ratchet::testing

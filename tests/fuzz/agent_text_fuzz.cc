// What the agent reads that others wrote: metadata services, the kernel, its own files after a
// crash.
//
// The first byte chooses the reader; the rest is the text. Notices must keep their promises
// whatever the clock and the text say; records must survive their own encoding.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/daemon/cgroup.h"
#include "agent/daemon/event_tail.h"
#include "agent/daemon/kernel_log.h"
#include "agent/daemon/process.h"
#include "agent/reclaim/notices.h"

namespace {

using namespace ratchet;
using namespace ratchet::agent;

constexpr int kReaders = 11;  // 'a' to 'k', as the corpus writes them
constexpr Millis kLongestLead{90LL * 24 * 3600 * 1000};

void check(bool good) {
  if (!good) std::abort();
}

void check_notice(const ReclaimNotice& notice) {
  check(notice.lead >= Millis{-1} && notice.lead <= kLongestLead);
}

void read_notice(char kind, std::string_view text, UnixMillis now) {
  if (kind == 'a') {
    if (const auto notice = parse_aws_action(text, now)) check_notice(*notice);
  } else if (kind == 'b') {
    if (const auto notice = parse_aws_rebalance(text)) check_notice(*notice);
  } else if (kind == 'c') {
    const auto notices = parse_aws_maintenance(text, now);
    for (const ReclaimNotice& notice : notices ? *notices : std::vector<ReclaimNotice>{}) {
      check_notice(notice);
    }
  } else if (kind == 'd') {
    const auto notice = parse_gcp_preempted(text);
    if (notice && *notice) check_notice(**notice);
  } else {
    const auto events = parse_azure_events(text, "vm0", now);
    for (const ReclaimNotice& notice : events ? events->notices : std::vector<ReclaimNotice>{}) {
      check_notice(notice);
    }
  }
}

void read_machine(char kind, std::string_view text) {
  if (kind == 'f') {
    const auto found = parse_kernel_record(text);
    check(!found || found->xid > 0 || found->killed > 0);
  } else if (kind == 'g') {
    (void)parse_process_stat(text);
  } else if (kind == 'h') {
    const auto record = decode_process_record(text);
    if (!record) return;
    const auto again = decode_process_record(encode_process_record(*record));
    check(again && again->identity == record->identity && again->epoch == record->epoch);
  } else if (kind == 'i') {
    (void)parse_oom_kills(text);
  } else if (kind == 'j') {
    (void)own_cgroup(text, text);
  } else {
    const TailCursor cursor = decode_cursor(text);
    check(decode_cursor(encode_cursor(cursor)) == cursor);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const char kind = static_cast<char>('a' + (data[0] + 2) % kReaders);
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (kind <= 'e') {
    for (const std::int64_t now : {0LL, 1775946000000LL, 99999999999999LL}) {
      read_notice(kind, text, UnixMillis(now));
    }
  } else {
    read_machine(kind, text);
  }
  return 0;
}

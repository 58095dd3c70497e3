#pragma once

// Why an attempt ended: a pure function of what was seen on its node. One ordered table, first hit
// wins; the evidence that decided is kept with the verdict.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/cluster.h"
#include "proto/exit_record.h"
#include "proto/sync_message.h"

namespace ratchet::agent {

// What the agent's rim saw of a trainer that is gone.
struct ExitFacts {
  std::optional<int> exit_code;      // not known of a trainer that outlived its agent
  std::optional<int> signal;         // that ended it
  std::optional<ExitRecord> record;  // its own last line; the core adds it from the lines it read
  std::int64_t oom_kills = 0;        // growth of oom_kill in the cgroup's memory.events
  bool kernel_oom_line = false;      // the kernel log says that this pid was killed for memory
  std::vector<std::int64_t> xids;    // GPU errors in the kernel log while the attempt ran
  std::string last_words;            // end of its standard error, for people; may be empty
  bool operator==(const ExitFacts&) const = default;
};

// What the agent itself had done or knew.
struct EndContext {
  std::optional<EndCause> ordered;  // it was told to stop, and why (desired.stop_cause, superseded)
  bool unwanted = false;            // by that order: cancelled or superseded, whatever it did
  bool killed = false;              // by the agent: it did not leave in time
  std::optional<NoticeKind> notice;  // seen on this node while the attempt ran
  std::int64_t step = 0;             // last complete step, as its lines said
  std::string stage;
};

struct Verdict {
  EndCause cause = EndCause::kUnknown;
  ExitRecord record;  // the trainer's own, or one made of the evidence; message: full sentences
};

// Order: not wanted any more (cancelled, superseded) > completed by its own record > told by us to
// leave > reclaim notice > the trainer's record > Xid > host OOM > hang kill > an internal error it
// recorded > unknown. An internal error stands late: a GPU that fell off the bus often looks like
// one to the trainer.
Verdict classify(const ExitFacts& facts, const EndContext& context);

// What an Xid of the kernel log asks for (vendor's catalogue, as gpud groups it).
enum class XidClass { kIgnored, kRestartApp, kResetGpu, kReplaceNode };
XidClass xid_class(std::int64_t xid);

}  // namespace ratchet::agent

#pragma once

// What to do with the time that a reclaim notice leaves, from what this node has measured.

#include <optional>

#include "proto/sync_message.h"
#include "proto/units.h"

namespace ratchet::agent {

enum class DrainChoice {
  kSaveAndUpload,  // a new checkpoint reaches the store before the node goes
  kSaveOnly,       // there is time to seal it on disk, not to upload it
  kRelyOnLast,     // not even that: the newest sealed checkpoint is all there will be
};

struct DrainFigures {
  Millis left{0};                            // until the node goes
  std::optional<Millis> save;                // slowest of the last saves; none: not measured
  std::optional<double> upload_bytes_per_s;  // slowest of the last uploads; none: not measured
  Bytes checkpoint;                          // size of the newest; 0: none yet
};

struct DrainPlan {
  DrainChoice choice = DrainChoice::kRelyOnLast;
  Millis save_deadline{0};    // from now, for the trainer; 0: do not ask it to save
  Millis upload_deadline{0};  // from now: what is not uploaded by then is left
};

// Keeps a margin of a tenth of the time left, at least 500 ms. What was not measured is assumed:
// a save of 2 s, 50 MB/s up.
DrainPlan plan_drain(const DrainFigures& figures);

}  // namespace ratchet::agent

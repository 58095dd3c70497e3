#pragma once

// When a disk counts as full, and when there is room again. Pure.

#include "proto/units.h"

namespace ratchet::agent {

struct DiskFigures {
  Bytes free;
  Bytes checkpoint;  // size of the newest on this node; 0: none yet
  Bytes reserve;     // never to be used up by training
};

enum class DiskVerdict {
  kRoom,
  kTight,  // give back what nobody uses
  kFull,   // and if that did not help: training must pause
};

// Full: not even the reserve and one more checkpoint fit. Tight: two more. Once full, it stays full
// until three more fit, so that training does not stop and go at the brink.
inline DiskVerdict judge_disk(const DiskFigures& figures, bool was_full) {
  const auto room_for = [&](std::int64_t checkpoints) {
    return figures.free.count() >=
           figures.reserve.count() + checkpoints * figures.checkpoint.count();
  };
  if (!room_for(1) || (was_full && !room_for(3))) return DiskVerdict::kFull;
  const bool ample = figures.free.count() >= 2 * figures.reserve.count() && room_for(2);
  return ample ? DiskVerdict::kRoom : DiskVerdict::kTight;
}

// What to give back so that the verdict is room.
inline Bytes disk_shortage(const DiskFigures& figures) {
  return figures.reserve + figures.reserve + figures.checkpoint + figures.checkpoint +
         figures.checkpoint - figures.free;
}

}  // namespace ratchet::agent

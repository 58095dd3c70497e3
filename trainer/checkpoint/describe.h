#pragma once

// A checkpoint for a reader: what `ratchet-trainer inspect` prints.

#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/checkpoint_reader.h"

namespace ratchet::trainer {

struct CheckpointDescription {
  VerifyResult verdict;  // rungs V0-V4
  struct Tensor {
    std::string file, name, dtype;
    std::vector<std::int64_t> shape;
  };
  std::vector<Tensor> tensors;  // as far as headers could be read
};

// Whether the folder looks like a checkpoint (its name or a manifest in it).
bool looks_like_checkpoint(FileSystem& fs, const std::string& path);

CheckpointDescription describe_checkpoint(FileSystem& fs, const std::string& path);

std::string checkpoint_text(const CheckpointDescription& description);  // for a terminal
std::string checkpoint_json(const CheckpointDescription& description);  // one object

}  // namespace ratchet::trainer

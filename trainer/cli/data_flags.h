#pragma once

// Flags by which commands without a spec describe a data file.

#include <string>

#include "proto/job_spec.h"
#include "proto/result.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}

namespace ratchet::trainer::cli {

struct DataFlags {
  std::string format = "auto";
  std::string prompt_column;
  std::string completion_column;
};

void add_data_flags(CLI::App& command, DataFlags& flags);
Status parse_data_flags(const DataFlags& flags, DataFormat& format, DataColumns& columns);

}  // namespace ratchet::trainer::cli

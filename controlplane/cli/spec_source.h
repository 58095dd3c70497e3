#pragma once

// The job that a user means: a spec file, flags, or flags over a file. Pure but for the reading of
// the file.

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/finding.h"
#include "proto/job_spec.h"
#include "proto/result.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}

namespace ratchet::control::cli {

// What a flag says about a key of the spec: {"training.learning_rate", "1e-4"}. The value is JSON,
// or text where it is none.
using SpecSetting = std::pair<std::string, std::string>;

struct SpecFlags {
  std::string file;  // may be empty
  std::vector<SpecSetting> settings;
  std::vector<std::string> set;  // --set KEY=VALUE
};

void add_spec_flags(CLI::App& command, SpecFlags& flags);

// `text` with the settings laid over it; kInvalidArgument when a setting has no place.
Result<std::string> overlay(const std::string& text, const std::vector<SpecSetting>& settings);

struct LoadedSpec {
  Decoded<JobSpec> decoded;
  std::string folder;  // absolute: relative paths of the spec start here
};
Result<LoadedSpec> load_spec(const SpecFlags& flags);

// The inputs of a job by their names in JobInputs: base_model, train, validation, chat_template,
// init_adapter; with the path that the spec names.
std::map<std::string, std::string> spec_inputs(const JobSpec& spec);

}  // namespace ratchet::control::cli

#include "trainer/cli/spec_file.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <utility>

#include "proto/finding.h"
#include "proto/job_spec.h"
#include "trainer/cli/command.h"

namespace ratchet::trainer::cli {

constexpr size_t kSpecBytesMax = 1 << 20;

void add_spec_flags(CLI::App& command, SpecFlags& flags) {
  command.add_option("SPEC", flags.path, "job spec (JSON; every key: proto/README.md)")->required();
  command.add_option("--out", flags.out, "output folder; default: runs/<job name> beside the spec");
}

Result<AttemptSpec> load_attempt_spec(const SpecFlags& flags) {
  const auto text = read_small_file(flags.path, kSpecBytesMax);
  if (!text) {
    return text.error();
  }
  if (is_attempt_spec(*text)) {
    auto spec = to_result(flags.path, decode_attempt_spec(*text));
    if (spec && !flags.out.empty()) {
      spec->output_dir = std::filesystem::absolute(flags.out).lexically_normal().string();
    }
    return spec;
  }
  const auto job = to_result(flags.path, decode_job_spec(*text));
  if (!job) {
    return job.error();
  }
  const auto file = std::filesystem::absolute(flags.path).lexically_normal();
  AttemptArgs args;
  args.base_dir = file.parent_path().string();
  args.output_dir = flags.out.empty()
                        ? "runs/" + id_from_name(job->name)
                        : std::filesystem::absolute(flags.out).lexically_normal().string();
  return make_attempt_spec(*job, args);
}

}  // namespace ratchet::trainer::cli

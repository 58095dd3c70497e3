#pragma once

// How each row of a data file is seen, for `ratchet-trainer render`.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "proto/result.h"
#include "trainer/data/sample_encoder.h"

namespace ratchet::trainer {

struct RenderRowsOptions {
  DataFormat format = DataFormat::kAuto;
  DataColumns columns;
  bool add_generation_prompt = false;  // as the template asks for the next reply
  std::optional<std::uint64_t> only_row;
};

// One training row, or a row of the file that yields none.
struct RenderedRow {
  std::uint64_t row = 0;   // 0-based row of the file
  std::uint64_t line = 0;  // physical line
  std::uint32_t part = 0;  // training pair inside the row
  EncodedSample sample;    // empty where the row cannot be rendered
  std::string error;       // full sentences; beside a sample: why its loss cannot be placed
};

// Calls `show` for every training row in file order; `show` returns false to stop. Messages go to
// the template as they stand, also where the structural pass would refuse the row. Errors: the file
// cannot be read, only_row is beyond its end.
Status render_rows(const std::filesystem::path& path, const SampleEncoder& encoder,
                   const RenderRowsOptions& options,
                   const std::function<bool(const RenderedRow&)>& show);

// {"row": n, "line": n, "part": n, "text": ..., "ids": [...], "train": [0|1, ...]}; with
// "error" in place of "train", and without text and ids where there are none.
std::string rendered_json(const RenderedRow& row);

}  // namespace ratchet::trainer

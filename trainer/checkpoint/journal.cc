#include "trainer/checkpoint/journal.h"

#include <nlohmann/json.hpp>

#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/manifest.h"

namespace ratchet::trainer {

Status append_journal(FileSystem& fs, const std::string& job_dir, const JournalLine& line,
                      Sync sync) {
  nlohmann::ordered_json doc = {{"at", utc_now()}, {"event", line.event}, {"step", line.step}};
  for (const auto& [key, text] : line.details) doc[key] = text;
  return append_line(fs, join_path(job_dir, kJournalName),
                     doc.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), sync);
}

}  // namespace ratchet::trainer

#pragma once

// Where events of an attempt go: the event file and the optional descriptor, TensorBoard, and the
// terminal. emit() may be called from any thread.

#include <cstdint>
#include <memory>
#include <string>

#include "proto/events.h"
#include "proto/ids.h"
#include "proto/result.h"

namespace ratchet::trainer {

struct ReporterOptions {
  std::string output_dir;
  int events_fd = -1;  // -1: none
  JobId job_id;
  std::int64_t attempt_no = 0;  // 0: one more than the event file has seen
  std::int64_t epoch = 0;
  bool quiet = false;  // nothing on the terminal but the last word
};

class Reporter {
 public:
  static Result<std::unique_ptr<Reporter>> open(const ReporterOptions& options);
  ~Reporter();
  Reporter(const Reporter&) = delete;
  Reporter& operator=(const Reporter&) = delete;

  void emit(const EventBody& body);

  [[nodiscard]] std::int64_t attempt_no() const;
  // Highest step that the event file had before this attempt; 0 when none.
  [[nodiscard]] std::int64_t last_step_before() const;

 private:
  struct Impl;
  explicit Reporter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ratchet::trainer

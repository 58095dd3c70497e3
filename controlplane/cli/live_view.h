#pragma once

// What `watch` knows of a job and how it looks: a block of lines that is drawn again and again
// below the lines that stay. Pure; one thread.

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/cli/job_view.h"
#include "proto/units.h"

namespace ratchet::control::cli {

class LiveView {
 public:
  // The API's job document. Steps seen on the stream are newer than its own.
  void on_job(const nlohmann::json& job);
  void on_step(const nlohmann::json& step);
  // Why nothing comes at the moment; empty when something does.
  void on_silence(std::string reason) { silence_ = std::move(reason); }

  [[nodiscard]] const JobView& job() const { return job_; }

  // One to three lines of at most `columns`: the bar, the recovery's stages, why it is silent.
  [[nodiscard]] std::vector<std::string> block(std::size_t columns, UnixMillis now) const;
  // The same for a log file: one line.
  [[nodiscard]] std::string plain(UnixMillis now) const;
  // What is said when the job is over.
  [[nodiscard]] std::string verdict() const;

 private:
  JobView job_;
  std::string silence_;
};

// Draws on a terminal. `write` gets escape sequences; nothing is drawn before the first block.
class Painter {
 public:
  explicit Painter(std::function<void(const std::string&)> write) : write_(std::move(write)) {}
  // Replaces the block.
  void draw(const std::vector<std::string>& block);
  // A line that stays, above the block.
  void say(const std::string& line);
  // Leaves the block where it is.
  void finish();

 private:
  [[nodiscard]] std::string erase() const;
  [[nodiscard]] std::string text() const;
  std::function<void(const std::string&)> write_;
  std::vector<std::string> drawn_;
};

}  // namespace ratchet::control::cli

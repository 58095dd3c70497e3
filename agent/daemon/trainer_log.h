#pragma once

// The trainer's stdout and stderr on the way to the control plane, bounded at both ends.
//
// The trainer appends to one file for as long as it lives, agent or no agent, so that the file can
// neither be renamed nor cut: instead its oldest part is given back to the file system (a hole),
// and offsets stay what they are. Where holes are not to be had, the file is emptied.

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <string>

#include "proto/net/http_client.h"
#include "proto/units.h"

namespace ratchet::agent {

constexpr Bytes kMaxLogOnDisk = mebibytes(16);
constexpr Bytes kMaxLogForwarded = mebibytes(16);  // of one attempt

// Gives back what is older than the newest `keep` bytes.
void trim_log(const std::filesystem::path& file, Bytes keep);

// The last lines, at most `bytes`, for people.
std::string last_words(const std::filesystem::path& file, std::size_t bytes);

// Keeps the file open, so that its text can still be sent when the attempt's folder has gone.
class LogForwarder {
 public:
  LogForwarder(std::filesystem::path file, std::string target)
      : file_(std::move(file)), target_(std::move(target)) {}
  ~LogForwarder();
  LogForwarder(const LogForwarder&) = delete;
  LogForwarder& operator=(const LogForwarder&) = delete;

  // Sends what is new, at most some pieces. Returns whether everything is there now. One call at a
  // time.
  boost::asio::awaitable<bool> forward(net::HttpClient& http, net::CancelSource* cancel);

 private:
  std::filesystem::path file_;
  std::string target_;
  int fd_ = -1;
  std::int64_t offset_ = 0;
  bool refused_ = false;  // the control plane wants no more of it
};

}  // namespace ratchet::agent

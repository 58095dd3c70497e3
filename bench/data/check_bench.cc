// Speed and memory of the structural pass on generated data.
//
//   check_bench [--bytes N] [--threads N] [--format chat|conversations|document] [--file PATH]
//   [--keep]
//
// Writes a data set of about N bytes (default 1e9) to PATH (default a file in the temporary folder,
// removed afterwards), checks it, and prints one JSON line with the figures.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/order.h"
#include "trainer/data/structural_check.h"

namespace {

using ratchet::trainer::mix64;

struct Settings {
  std::uint64_t bytes = 1'000'000'000;
  unsigned threads = 2;
  std::string format = "chat";
  std::filesystem::path file;
  bool keep = false;
};

constexpr std::string_view kWords[] = {
    "the",  "model",      "learns", "from", "a",    "row",   "of",    "text",  "and",   "answers",
    "with", "care",       "when",   "it",   "is",   "asked", "again", "about", "shape", "of",
    "data", "café",       "naïve",  "in",   "\\n",  "many",  "words", "that",  "do",    "not",
    "mean", "\\\"so\\\"", "much",   "but",  "have", "the",   "right", "size",  "for",   "tests"};

std::string sentence(std::uint64_t& state, std::size_t words) {
  std::string text;
  for (std::size_t i = 0; i < words; ++i) {
    state = mix64(state + 1);
    if (!text.empty()) text += ' ';
    text += kWords[state % std::size(kWords)];
  }
  return text;
}

// Everything of a row behind its id.
std::string chat_tail(std::uint64_t number, std::uint64_t& state) {
  std::string row = ", \"messages\": [{\"role\": \"system\", \"content\": \"Answer well.\"}";
  for (std::size_t turn = 0; turn <= number % 3; ++turn) {
    row += ", {\"role\": \"user\", \"content\": \"" + sentence(state, 12) + "\"}";
    row += ", {\"role\": \"assistant\", \"content\": \"" + sentence(state, 25) + "\"}";
  }
  return row + "]}";
}

std::string conversation_tail(std::uint64_t& state) {
  std::string row =
      ", \"persona\": \"planner\", \"emotional_arc\": \"calm to glad\", "
      "\"topic\": \"budget\", \"training_pairs\": [";
  for (std::size_t pair = 0; pair < 4; ++pair) {
    if (pair > 0) row += ", ";
    row += "{\"prompt_context\": \"" + sentence(state, 20) + "\", \"user_query\": \"" +
           sentence(state, 15) + "\", \"target_response\": \"" + sentence(state, 40) +
           "\", \"scaffolding_metadata\": {\"turn\": " + std::to_string(pair) + "}}";
  }
  return row + "]}";
}

// Bytes written. Rows have ids of their own; their texts come from a pool, for speed.
std::uint64_t write_data(const Settings& settings) {
  constexpr std::uint64_t kPool = 4099;
  std::uint64_t state = 7;
  std::vector<std::string> tails;
  tails.reserve(kPool);
  const bool chat = settings.format == "chat";
  for (std::uint64_t i = 0; i < kPool; ++i) {
    tails.push_back(chat ? chat_tail(i, state) : conversation_tail(state));
  }
  std::ofstream out(settings.file, std::ios::binary);
  const bool document = settings.format == "document";
  const std::string start = chat ? "{\"id\": \"row-" : "{\"conversation_id\": \"c-";
  std::uint64_t bytes = 0;
  if (document) out << "{\"conversations\": [\n";
  for (std::uint64_t number = 0; bytes < settings.bytes; ++number) {
    if (document && number > 0) out << ",\n";
    const std::string& tail = tails[number % kPool];
    out << start << number << '"' << tail;
    if (!document) out << '\n';
    bytes += start.size() + tail.size() + 10;
  }
  if (document) out << "\n]}\n";
  out.close();
  if (!out) {
    std::cerr << "Could not write " << settings.file << ".\n";
    std::exit(1);
  }
  return std::filesystem::file_size(settings.file);
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::optional<Settings> read_arguments(int count, char** arguments) {
  Settings settings;
  settings.file = std::filesystem::temp_directory_path() / "ratchet_check_bench.data";
  for (int i = 1; i < count; ++i) {
    const std::string_view name = arguments[i];
    if (name == "--keep") {
      settings.keep = true;
      continue;
    }
    if (i + 1 >= count) return std::nullopt;
    const std::string value = arguments[++i];
    if (name == "--bytes") {
      settings.bytes = static_cast<std::uint64_t>(std::strtod(value.c_str(), nullptr));
    } else if (name == "--threads") {
      settings.threads = static_cast<unsigned>(std::strtoul(value.c_str(), nullptr, 10));
    } else if (name == "--format") {
      settings.format = value;
    } else if (name == "--file") {
      settings.file = value;
    } else {
      return std::nullopt;
    }
  }
  return settings;
}

}  // namespace

int main(int count, char** arguments) {
  const auto settings = read_arguments(count, arguments);
  if (!settings) {
    std::cerr << "usage: check_bench [--bytes N] [--threads N] "
                 "[--format chat|conversations|document] [--file PATH] [--keep]\n";
    return 2;
  }
  const std::uint64_t bytes = write_data(*settings);
  ratchet::trainer::CheckOptions options;
  options.threads = settings->threads;
  const double cpu_before = cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  const auto report = ratchet::trainer::check_structure(settings->file, options);
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  const double cpu = cpu_seconds() - cpu_before;
  if (!settings->keep) std::filesystem::remove(settings->file);
  if (!report) {
    std::cerr << report.error().message << '\n';
    return 1;
  }
  std::printf(
      "{\"format\": \"%s\", \"bytes\": %llu, \"rows\": %llu, \"good_rows\": %llu, \"threads\": %u, "
      "\"seconds\": %.2f, \"mb_per_s\": %.1f, \"cpu_seconds\": %.2f, \"peak_rss_mib\": %.1f}\n",
      settings->format.c_str(), static_cast<unsigned long long>(bytes),
      static_cast<unsigned long long>(report->rows),
      static_cast<unsigned long long>(report->good_rows), settings->threads, wall.count(),
      static_cast<double>(bytes) / 1e6 / wall.count(), cpu, peak_mib());
  return 0;
}

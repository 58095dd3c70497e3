#include "controlplane/service/settings.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "proto/document.h"

namespace ratchet::control {

namespace {

using Reader = bool (*)(std::string_view text, Settings& out, std::string& allowed);

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.remove_suffix(1);
  }
  return text;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    const auto part = trim(text.substr(0, comma));
    if (!part.empty()) out.emplace_back(part);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

bool read_integer(std::string_view text, std::int64_t min, std::int64_t max, std::int64_t& out,
                  std::string& allowed) {
  allowed = "an integer from " + std::to_string(min) + " to " + std::to_string(max);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    return false;
  }
  out = value;
  return true;
}

bool read_word(std::string_view text, std::span<const std::string_view> words, std::string& out,
               std::string& allowed) {
  for (const auto word : words) {
    allowed += allowed.empty() ? "one of " : ", ";
    allowed += word;
  }
  if (std::find(words.begin(), words.end(), text) == words.end()) return false;
  out = text;
  return true;
}

template <std::string Settings::* kField>
bool read_text(std::string_view text, Settings& out, std::string& /*allowed*/) {
  out.*kField = text;
  return true;
}

template <std::vector<std::string> Settings::* kField>
bool read_list(std::string_view text, Settings& out, std::string& /*allowed*/) {
  out.*kField = split_list(text);
  return true;
}

template <bool Settings::* kField>
bool read_flag(std::string_view text, Settings& out, std::string& allowed) {
  allowed = "true or false";
  if (text != "true" && text != "false") return false;
  out.*kField = text == "true";
  return true;
}

template <std::int64_t Settings::* kField, std::int64_t kMin, std::int64_t kMax>
bool read_count(std::string_view text, Settings& out, std::string& allowed) {
  return read_integer(text, kMin, kMax, out.*kField, allowed);
}

template <std::int64_t CoreSettings::* kField, std::int64_t kMin, std::int64_t kMax>
bool read_core_count(std::string_view text, Settings& out, std::string& allowed) {
  return read_integer(text, kMin, kMax, out.core.*kField, allowed);
}

bool read_checkpoints_kept(std::string_view text, Settings& out, std::string& allowed) {
  std::int64_t value = 0;
  if (!read_integer(text, 1, 1000, value, allowed)) return false;
  out.core.checkpoints_kept = static_cast<std::size_t>(value);
  return true;
}

template <Millis CoreSettings::* kField>
bool read_millis(std::string_view text, Settings& out, std::string& allowed) {
  std::int64_t value = 0;
  if (!read_integer(text, 0, std::int64_t{366} * 24 * 3600 * 1000, value, allowed)) return false;
  out.core.*kField = Millis(value);
  return true;
}

bool read_hang_factor(std::string_view text, Settings& out, std::string& allowed) {
  allowed = "a number from 1 to 1000";
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  if (!(value >= 1 && value <= 1000)) return false;
  out.core.hang_factor = value;
  return true;
}

bool read_backoff(std::string_view text, Settings& out, std::string& allowed) {
  std::vector<Millis> steps;
  for (const auto& part : split_list(text)) {
    std::int64_t value = 0;
    if (!read_integer(part, 1, 24 * 3600 * 1000, value, allowed)) return false;
    steps.emplace_back(value);
  }
  allowed = "1 to 20 numbers of milliseconds, with commas";
  if (steps.empty() || steps.size() > 20) return false;
  out.core.backoff = std::move(steps);
  return true;
}

bool read_node_paths(std::string_view text, Settings& out, std::string& allowed) {
  constexpr std::array<std::string_view, 3> kWords{"auto", "yes", "no"};
  return read_word(text, kWords, out.node_paths, allowed);
}

bool read_log_level(std::string_view text, Settings& out, std::string& allowed) {
  constexpr std::array<std::string_view, 4> kWords{"debug", "info", "warning", "error"};
  return read_word(text, kWords, out.log_level, allowed);
}

bool read_local_stop(std::string_view text, Settings& out, std::string& allowed) {
  constexpr std::array<std::string_view, 2> kWords{"keep", "stop"};
  return read_word(text, kWords, out.local_stop, allowed);
}

struct Entry {
  SettingInfo info;
  Reader read;
};

constexpr std::int64_t kMaxBytes = std::int64_t{1} << 50;
constexpr std::int64_t kTebibyte = std::int64_t{1} << 40;

constexpr std::array kTable{
    Entry{{"state", "", "Folder of the store, artifacts and logs. Required."},
          read_text<&Settings::state>},
    Entry{{"listen", "127.0.0.1:7070", "Address and port; port 0 lets the system choose."},
          read_text<&Settings::listen>},
    Entry{{"public_url", "", "URL under which nodes reach this server; empty: from listen."},
          read_text<&Settings::public_url>},
    Entry{{"tls_cert", "", "PEM file of the certificate chain; with tls_key."},
          read_text<&Settings::tls_cert>},
    Entry{{"tls_key", "", "PEM file of the private key; with tls_cert."},
          read_text<&Settings::tls_key>},
    Entry{{"allow_plaintext", "false", "Serve without TLS on an address beyond loopback."},
          read_flag<&Settings::allow_plaintext>},
    Entry{{"allowed_origins", "", "Origins of web pages that may call the API, with commas."},
          read_list<&Settings::allowed_origins>},
    Entry{{"node_paths", "auto",
           "May jobs name paths of the node as inputs: yes, no, auto (only on loopback)."},
          read_node_paths},
    Entry{{"rate_limit_per_s", "100", "Requests a second that one token may make on average."},
          read_count<&Settings::rate_limit_per_s, 1, 1000000>},
    Entry{{"rate_limit_burst", "400", "Requests that one token may make at once."},
          read_count<&Settings::rate_limit_burst, 1, 1000000>},
    Entry{{"agent_rate_limit_per_s", "200", "The same for the token of a node."},
          read_count<&Settings::agent_rate_limit_per_s, 1, 1000000>},
    Entry{{"log_level", "info", "Least that is logged: debug, info, warning or error."},
          read_log_level},
    Entry{{"log_max_bytes", "67108864", "Most bytes that are kept of one attempt's log."},
          read_count<&Settings::log_max_bytes, 4096, kTebibyte>},
    Entry{{"events_kept_days", "30",
           "Days that events, steps and logs of ended jobs are kept; those of live jobs stay."},
          read_count<&Settings::events_kept_days, 1, 36500>},
    Entry{{"sweep_every_s", "600", "Seconds between two collections of what nobody needs."},
          read_count<&Settings::sweep_every_s, 1, 86400>},
    Entry{{"disk_reserve_bytes", "268435456", "Uploads are refused when less disk is free."},
          read_count<&Settings::disk_reserve_bytes, 0, kMaxBytes>},
    Entry{{"artifact_kept_hours", "24", "Hours that an artifact is kept after nobody needs it."},
          read_count<&Settings::artifact_kept_hours, 1, 87600>},
    Entry{{"webhook_allow", "",
           "Networks (10.1.0.0/16) that webhooks may reach although they are not public."},
          read_list<&Settings::webhook_allow>},
    Entry{{"local_nodes", "0", "Most nodes that are started on this machine; 0: none."},
          read_count<&Settings::local_nodes, 0, 64>},
    Entry{{"local_keep", "0", "Local nodes that are there also when no job wants them."},
          read_count<&Settings::local_keep, 0, 64>},
    Entry{{"local_agent", "", "Program of local nodes; empty: ratchet-agent beside this one."},
          read_text<&Settings::local_agent>},
    Entry{{"local_trainer", "", "Program that local nodes train with; empty: the agent's choice."},
          read_text<&Settings::local_trainer>},
    Entry{{"local_stop", "keep",
           "Local nodes when this server is stopped: keep (training goes on) or stop."},
          read_local_stop},
    Entry{{"heartbeat_ms", "2000", "How often nodes send a sign of life."},
          read_millis<&CoreSettings::heartbeat>},
    Entry{{"suspect_after_ms", "6000", "Silence after which a node is suspect."},
          read_millis<&CoreSettings::suspect_after>},
    Entry{{"contact_ttl_ms", "15000", "Contact lease: silence after which a node is silent."},
          read_millis<&CoreSettings::contact_ttl>},
    Entry{{"authority_ttl_ms", "300000",
           "Authority lease: for how long a silent node may own its jobs."},
          read_millis<&CoreSettings::authority_ttl>},
    Entry{{"offer_ttl_ms", "30000", "How long an offered attempt waits for its node."},
          read_millis<&CoreSettings::offer_ttl>},
    Entry{{"drain_deadline_ms", "120000", "Time to save when a node is drained or a job paused."},
          read_millis<&CoreSettings::drain_deadline>},
    Entry{{"inventory_window_ms", "30000", "After a start: how long nodes have to report back."},
          read_millis<&CoreSettings::inventory_window>},
    Entry{{"boot_deadline_ms", "1200000", "How long a new node has to join."},
          read_millis<&CoreSettings::boot_deadline>},
    Entry{{"hang_floor_ms", "120000", "A job is never taken for hung earlier than this."},
          read_millis<&CoreSettings::hang_floor>},
    Entry{{"hang_factor", "5", "Times the 99th percentile of a job's steps that mean a hang."},
          read_hang_factor},
    Entry{{"first_step_allowance_ms", "600000", "Time from the start to the first step."},
          read_millis<&CoreSettings::first_step_allowance>},
    Entry{{"backoff_ms", "5000,15000,45000,120000,300000", "Waits between attempts of a job."},
          read_backoff},
    Entry{{"no_progress_limit", "3", "Ends without a new checkpoint that make a job fail."},
          read_core_count<&CoreSettings::no_progress_limit, 1, 1000>},
    Entry{{"tenant_slots", "0", "Most devices that one tenant holds at once; 0: no limit."},
          read_core_count<&CoreSettings::tenant_slots, 0, 1000000>},
    Entry{{"checkpoints_kept", "3", "Newest checkpoints of a job that are kept."},
          read_checkpoints_kept},
    Entry{{"stop_deadline_ms", "15000", "Time that a cancelled attempt has to stop by itself."},
          read_millis<&CoreSettings::stop_deadline>},
    Entry{{"upload_wait_ms", "5000", "How long a checkpoint of an ended attempt is waited for."},
          read_millis<&CoreSettings::upload_wait>},
    Entry{{"no_capacity_after_ms", "600000",
           "A recovering job that finds no node is queued again after this."},
          read_millis<&CoreSettings::no_capacity_after>},
    Entry{{"orphan_kept_ms", "86400000", "How long checkpoints of fenced attempts are kept."},
          read_millis<&CoreSettings::orphan_kept>},
};

const Entry* find_entry(std::string_view key) {
  for (const auto& entry : kTable) {
    if (entry.info.key == key) return &entry;
  }
  return nullptr;
}

}  // namespace

std::span<const SettingInfo> setting_table() {
  static const auto infos = [] {
    std::array<SettingInfo, kTable.size()> out;
    for (std::size_t i = 0; i < kTable.size(); ++i) out.at(i) = kTable.at(i).info;
    return out;
  }();
  return infos;
}

std::string setting_flag(std::string_view key) {
  std::string out = "--" + std::string(key);
  std::replace(out.begin() + 2, out.end(), '_', '-');
  return out;
}

std::string setting_variable(std::string_view key) {
  std::string out = "RATCHET_";
  for (const char c : key) {
    out += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return out;
}

Result<SettingTexts> parse_settings_file(std::string_view name, std::string_view text) {
  SettingTexts out;
  std::string faults;
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty() || line.front() == '#') continue;
    const auto where = "  line " + std::to_string(number) + ": ";
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) {
      faults += where + "is not `key = value`.\n";
      continue;
    }
    const auto key = trim(line.substr(0, equals));
    if (find_entry(key) == nullptr) {
      std::vector<std::string_view> known;
      for (const auto& entry : kTable) known.push_back(entry.info.key);
      const auto meant = did_you_mean(key, known);
      faults += where + "no setting is called '" + clip_text(key, 60) + "'" +
                (meant.empty() ? "" : ", did you mean '" + std::string(meant) + "'") + ".\n";
    } else if (!out.emplace(key, trim(line.substr(equals + 1))).second) {
      faults += where + "'" + std::string(key) + "' was written before.\n";
    }
  }
  if (faults.empty()) return out;
  faults.pop_back();
  return Error{Code::kInvalidArgument,
               "The settings file " + std::string(name) + " is faulty:\n" + faults};
}

SettingTexts settings_from_environment(const std::function<const char*(const char*)>& read) {
  SettingTexts out;
  for (const auto& entry : kTable) {
    if (const char* value = read(setting_variable(entry.info.key).c_str())) {
      out.emplace(entry.info.key, value);
    }
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> effective_settings(
    const std::vector<SettingTexts>& layers) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& entry : kTable) {
    std::string value(entry.info.fallback);
    for (const auto& layer : layers) {
      if (const auto found = layer.find(entry.info.key); found != layer.end()) {
        value = found->second;
      }
    }
    out.emplace_back(entry.info.key, value);
  }
  return out;
}

Result<Settings> make_settings(const std::vector<SettingTexts>& layers) {
  Settings out;
  std::string faults;
  for (const auto& [key, value] : effective_settings(layers)) {
    std::string allowed;
    if (!find_entry(key)->read(value, out, allowed)) {
      faults += "  " + key + " = " + clip_text(value, 80) + ": must be " + allowed + ".\n";
    }
  }
  if (out.tls_cert.empty() != out.tls_key.empty()) {
    faults += "  tls_cert and tls_key: give both or none.\n";
  }
  if (out.core.contact_ttl >= out.core.authority_ttl) {
    faults += "  contact_ttl_ms: must be less than authority_ttl_ms.\n";
  }
  if (out.core.heartbeat >= out.core.contact_ttl) {
    faults += "  heartbeat_ms: must be less than contact_ttl_ms.\n";
  }
  if (faults.empty()) return out;
  faults.pop_back();
  return Error{Code::kInvalidArgument, "The settings are faulty:\n" + faults};
}

std::string settings_template() {
  std::string out =
      "# Settings of ratchet-control: ratchet-control --settings FILE. Every setting with its\n"
      "# default. A flag (--rate-limit-per-s) wins over an environment variable\n"
      "# (RATCHET_RATE_LIMIT_PER_S), which wins over this file.\n";
  for (const auto& entry : kTable) {
    out += "\n# " + std::string(entry.info.meaning) + "\n#" + std::string(entry.info.key) + " =" +
           (entry.info.fallback.empty() ? "" : " " + std::string(entry.info.fallback)) + "\n";
  }
  return out;
}

}  // namespace ratchet::control

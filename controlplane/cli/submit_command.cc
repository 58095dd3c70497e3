// ratchet submit, ratchet validate.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/cli/command.h"
#include "controlplane/cli/files.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "controlplane/cli/spec_source.h"
#include "controlplane/cli/transfer.h"
#include "controlplane/cli/watch.h"
#include "proto/attempt_spec.h"

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

struct SubmitArgs {
  SpecFlags spec;
  std::vector<std::string> node_paths;  // NAME=PATH
  std::string gpu_type;
  std::string gpu_memory;
  std::int64_t priority = 0;
  std::string starts_at;
  std::string parent;
  std::string key;
  bool watch = false;
};

Json findings_json(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) {
    list.push_back(
        {{"path", finding.path}, {"value", finding.value}, {"message", finding.message}});
  }
  return list;
}

std::string spec_title(const SpecFlags& flags) {
  return flags.file.empty() ? "The job" : "'" + flags.file + "'";
}

// Faults as one document; exit code kExitFailed.
int tell_findings(const Flags& flags, const std::string& title,
                  const std::vector<Finding>& findings) {
  Problem problem = problem_of(findings_error(title, findings));
  problem.code = "invalid_spec";
  if (!flags.json) return fail(flags, problem);
  Json whole = problem_json(problem);
  whole["valid"] = false;
  whole["findings"] = findings_json(findings);
  print_json(whole);
  return problem.exit;
}

std::string kind_of(const std::string& input) {
  if (input == "base_model") return "base_model";
  if (input == "init_adapter") return "adapter";
  return input == "chat_template" ? "file" : "dataset";
}

// NAME=PATH flags by name; every name must be an input of the job.
Result<std::map<std::string, std::string>> parse_node_paths(
    const std::vector<std::string>& flags, const std::map<std::string, std::string>& inputs) {
  std::map<std::string, std::string> paths;
  for (const std::string& flag : flags) {
    const std::size_t equals = flag.find('=');
    const std::string name = flag.substr(0, equals);
    if (equals == std::string::npos || !inputs.contains(name) || flag[equals + 1] != '/') {
      std::string names;
      for (const auto& [known, path] : inputs) names += (names.empty() ? "" : ", ") + known;
      return Error{Code::kInvalidArgument,
                   "'--node-path " + flag +
                       "' is not understood. Write NAME=/path/on/the/node, where NAME is an input "
                       "of this job: " +
                       names + "."};
    }
    paths[name] = flag.substr(equals + 1);
  }
  return paths;
}

// Uploads what lies on this machine; {"base_model": {"artifact_id": ..} | {"node_path": ..}, ..}.
Answer<Json> provide_inputs(Api& api, const Flags& flags, const LoadedSpec& loaded,
                            const std::map<std::string, std::string>& node_paths) {
  const TransferProgress progress = transfer_progress(flags.json);
  Json inputs = Json::object();
  for (const auto& [name, written] : spec_inputs(*loaded.decoded.value)) {
    if (const auto there = node_paths.find(name); there != node_paths.end()) {
      inputs[name] = {{"node_path", there->second}};
      continue;
    }
    const std::string path = (fs::path(loaded.folder) / written).lexically_normal().string();
    const auto uploaded = upload_artifact(api, kind_of(name), path, progress);
    if (!uploaded) {
      Problem problem = uploaded.error();
      if (problem.status == 0 && problem.exit == kExitNotFound) {
        problem.next_step = "The job's " + name +
                            " is looked for on this machine. Correct the "
                            "path, or say that the nodes have it: --node-path " +
                            name + "=/path";
      }
      return problem;
    }
    inputs[name] = {{"artifact_id", uploaded->artifact_id}};
    progress.say(name + ": " + format_bytes(Bytes(uploaded->bytes)) +
                 (uploaded->sent > 0 ? ", " + format_bytes(Bytes(uploaded->sent)) + " uploaded"
                                     : ", already there"));
  }
  return inputs;
}

Answer<Json> request_body(const SubmitArgs& args, const JobSpec& spec) {
  Json body = {{"spec", Json::parse(encode_job_spec(spec))}, {"priority", args.priority}};
  if (!args.gpu_type.empty()) body["gpu_type"] = args.gpu_type;
  if (!args.parent.empty()) body["parent"] = args.parent;
  if (!args.gpu_memory.empty()) {
    const auto memory = parse_bytes(args.gpu_memory);
    if (!memory) return usage_problem(memory.error());
    body["gpu_memory_bytes"] = memory->count();
  }
  if (!args.starts_at.empty()) {
    const auto time = parse_time(args.starts_at, wall_now());
    if (!time) return usage_problem(time.error());
    body["starts_at_ms"] = time->count();
  }
  return body;
}

Answer<int> send_job(Api& api, const Flags& flags, const SubmitArgs& args, const LoadedSpec& loaded,
                     Json body, const std::map<std::string, std::string>& node_paths) {
  // Wrong credentials are told before gigabytes are hashed.
  if (const auto allowed = api.get("/v1/jobs?limit=1"); !allowed) return allowed.error();
  auto inputs = provide_inputs(api, flags, loaded, node_paths);
  if (!inputs) return inputs.error();
  body["inputs"] = *std::move(inputs);
  const std::string key = args.key.empty() ? random_key() : args.key;
  const auto job = api.send(net::Method::kPost, "/v1/jobs", &body, key);
  if (!job) return job.error();
  const std::string id = text_at(*job, "id");
  if (args.watch) {
    if (!flags.json) print("Job " + printable(id) + " is submitted.\n");
    return watch_job(api, flags, id);
  }
  if (flags.json) {
    print_json(*job);
  } else {
    print("Job " + printable(id) + " is submitted.\n'ratchet watch " + printable(id) +
          "' shows it live; it goes on without you.\n");
  }
  return kExitOk;
}

int submit(const Flags& flags, const SubmitArgs& args) {
  const auto loaded = load_spec(args.spec);
  if (!loaded) return fail(flags, loaded.error());
  if (!loaded->decoded.ok()) {
    return tell_findings(flags, spec_title(args.spec), loaded->decoded.findings);
  }
  auto body = request_body(args, *loaded->decoded.value);
  if (!body) return fail(flags, body.error());
  const auto node_paths = parse_node_paths(args.node_paths, spec_inputs(*loaded->decoded.value));
  if (!node_paths) return fail(flags, usage_problem(node_paths.error()));
  return with_api(flags, [&](Api& api) {
    return send_job(api, flags, args, *loaded, *std::move(body), *node_paths);
  });
}

int validate(const Flags& flags, const SpecFlags& spec) {
  const auto loaded = load_spec(spec);
  if (!loaded) return fail(flags, loaded.error());
  auto findings = loaded->decoded.findings;
  if (loaded->decoded.ok()) {
    for (const auto& [name, written] : spec_inputs(*loaded->decoded.value)) {
      const fs::path path = fs::path(loaded->folder) / written;
      std::error_code failed;
      if (!fs::exists(path, failed)) {
        const std::string key = name == "base_model" ? "$.base_model" : "$.data." + name;
        findings.push_back({name == "init_adapter" ? "$.lora.init_adapter" : key,
                            Json(written).dump(),
                            "is not on this machine (" + path.lexically_normal().string() +
                                "): correct it, or submit with --node-path " + name + "=/path"});
      }
    }
  }
  if (!findings.empty()) return tell_findings(flags, spec_title(spec), findings);
  if (flags.json) {
    print_json({{"valid", true},
                {"findings", Json::array()},
                {"spec", Json::parse(encode_job_spec(*loaded->decoded.value))}});
  } else {
    print(spec_title(spec) + " is valid.\n");
  }
  return kExitOk;
}

}  // namespace

void add_submit_command(Registry registry) {
  auto args = std::make_shared<SubmitArgs>();
  CLI::App* command = add_remote_command(
      registry.app, registry.flags, "submit", "Hands a job to the control plane",
      "Takes the same job.json as 'ratchet-trainer run', flags, or flags over a file. Model and\n"
      "data are looked for on this machine, hashed, and uploaded unless they are there already;\n"
      "an upload that was cut off goes on where it was. --node-path names what the nodes have.\n"
      "Examples:  ratchet submit job.json --watch\n"
      "           ratchet submit --name bot --base-model models/llama-3.2-1b --data chats.jsonl\n"
      "           ratchet submit job.json --preset conservative --set lora.dropout=0\n"
      "           ratchet submit job.json --node-path base_model=/models/llama-3.1-8b\n"
      "           ratchet submit job.json --gpu-type H100 --starts-at +2h");
  add_spec_flags(*command, args->spec);
  const std::string group = "Where and when";
  command
      ->add_option("--node-path", args->node_paths,
                   "NAME=PATH: an input that every node has at that path (base_model, train, "
                   "validation, chat_template, init_adapter)")
      ->allow_extra_args(false)
      ->group(group);
  command->add_option("--gpu-type", args->gpu_type, "part of the GPU's name: H100, A100-SXM4-80GB")
      ->group(group);
  command->add_option("--gpu-memory", args->gpu_memory, "at least, each: 24GiB")->group(group);
  command->add_option("--priority", args->priority, "higher first, then the older job")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{-1000}, std::int64_t{1000}))
      ->group(group);
  command
      ->add_option("--starts-at", args->starts_at,
                   "not before: 2026-11-21T20:00:00Z, or +2h from now")
      ->group(group);
  command->add_option("--parent", args->parent, "job that this one belongs to (the same run)")
      ->group(group);
  command
      ->add_option("--idempotency-key", args->key,
                   "the same key makes one job, however often it is submitted")
      ->group(group);
  command->add_flag("--watch", args->watch, "show it live until it is over");
  command->callback([=] { registry.selected = [=] { return submit(registry.flags, *args); }; });
}

void add_validate_command(Registry registry) {
  auto spec = std::make_shared<SpecFlags>();
  CLI::App* command = add_command(
      registry.app, registry.flags, "validate", "Every fault of a job spec, on this machine alone",
      "Asks no control plane. 'ratchet-trainer check' goes further: it reads model and data.\n"
      "Exit code: 0 valid, 1 faults.\n"
      "Example:  ratchet validate job.json --set lora.rank=64");
  add_spec_flags(*command, *spec);
  command->callback([=] { registry.selected = [=] { return validate(registry.flags, *spec); }; });
}

}  // namespace ratchet::control::cli

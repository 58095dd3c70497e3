#include "controlplane/service/inputs.h"

#include <algorithm>

#include "proto/words.h"

namespace ratchet::control {

namespace {

enum class Shape { kFolder, kOneFile };

struct Slot {
  std::string_view key;
  const InputRef* ref;
  Shape shape;
  std::vector<ArtifactKind> kinds;
  std::string_view needs_file;  // empty: any
};

std::vector<Slot> slots_of(const JobInputs& inputs) {
  using enum ArtifactKind;
  std::vector<Slot> out{
      {"base_model", &inputs.base_model, Shape::kFolder, {kBaseModel, kModel}, "config.json"},
      {"train", &inputs.train, Shape::kOneFile, {kDataset, kFile}, ""}};
  if (inputs.validation) {
    out.push_back({"validation", &*inputs.validation, Shape::kOneFile, {kDataset, kFile}, ""});
  }
  if (inputs.chat_template) {
    out.push_back({"chat_template", &*inputs.chat_template, Shape::kOneFile, {kFile}, ""});
  }
  if (inputs.init_adapter) {
    out.push_back(
        {"init_adapter", &*inputs.init_adapter, Shape::kFolder, {kAdapter}, "adapter_config.json"});
  }
  return out;
}

bool given(const InputRef& ref) { return !ref.artifact_id.empty() || !ref.node_path.empty(); }

std::string path_of(const Slot& slot) { return "$.inputs." + std::string(slot.key); }

void inspect_artifact(const Slot& slot, const ArtifactStatus& status, InputsVerdict& out) {
  const auto& kind = status.row.kind;
  const auto value = "\"" + status.row.id + "\"";
  if (std::find(slot.kinds.begin(), slot.kinds.end(), kind) == slot.kinds.end()) {
    std::string allowed;
    for (const auto fits : slot.kinds) {
      allowed += (allowed.empty() ? "" : " or ") + std::string(to_word(fits));
    }
    out.findings.push_back({path_of(slot), value,
                            "is an artifact of kind " + std::string(to_word(kind)) +
                                "; what fits is " + allowed + "."});
  }
  if (slot.shape == Shape::kOneFile && status.files.size() != 1) {
    out.findings.push_back(
        {path_of(slot), value,
         "must have exactly one file and has " + std::to_string(status.files.size()) + "."});
  }
  const auto has = [&](std::string_view name) {
    return std::any_of(status.files.begin(), status.files.end(),
                       [&](const FileStatus& file) { return file.file.path == name; });
  };
  if (!slot.needs_file.empty() && !has(slot.needs_file)) {
    out.findings.push_back(
        {path_of(slot), value, "has no file " + std::string(slot.needs_file) + "."});
  }
  if (status.row.state == ArtifactState::kOpen) out.complete = false;
  if (status.row.state == ArtifactState::kRemoving) {
    out.findings.push_back({path_of(slot), value, "is being removed: upload it again."});
  }
}

void expect(bool wanted, bool is_given, std::string_view key, std::string_view spec_key,
            std::vector<Finding>& out) {
  const auto path = "$.inputs." + std::string(key);
  if (wanted && !is_given) {
    out.push_back({path, "",
                   "is missing: name the artifact that holds the spec's " + std::string(spec_key) +
                       ", {\"artifact_id\": \"art_..\"}."});
  } else if (!wanted && is_given) {
    out.push_back({path, "", "is given, but the spec has no " + std::string(spec_key) + "."});
  }
}

void fill(const std::string& path, InputRef& ref) {
  if (!given(ref) && path.starts_with('/')) ref.node_path = path;
}

void fill(const std::optional<std::string>& path, std::optional<InputRef>& ref) {
  if (!ref && path && path->starts_with('/')) ref = InputRef{.artifact_id = "", .node_path = *path};
}

}  // namespace

std::vector<std::string> input_artifacts(const JobInputs& inputs) {
  std::vector<std::string> out;
  for (const auto& slot : slots_of(inputs)) {
    if (!slot.ref->artifact_id.empty()) out.push_back(slot.ref->artifact_id);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

InputsVerdict inspect_inputs(const ArtifactStore& artifacts, const std::string& tenant,
                             const JobInputs& inputs, NodePaths node_paths) {
  InputsVerdict out;
  for (const auto& slot : slots_of(inputs)) {
    const auto& ref = *slot.ref;
    if (!given(ref)) continue;  // compare_inputs() says so
    if (!ref.artifact_id.empty() && !ref.node_path.empty()) {
      out.findings.push_back(
          {path_of(slot), "", "names both an artifact and a path of the node: give one."});
    } else if (!ref.node_path.empty()) {
      if (node_paths == NodePaths::kRefused) {
        out.findings.push_back({path_of(slot), "\"" + ref.node_path + "\"",
                                "is a path of the node, which this server does not allow "
                                "(setting node_paths): upload it as an artifact."});
      } else if (!ref.node_path.starts_with('/')) {
        out.findings.push_back(
            {path_of(slot), "\"" + ref.node_path + "\"", "must be an absolute path."});
      }
    } else if (const auto status = artifacts.status(ref.artifact_id, tenant)) {
      inspect_artifact(slot, *status, out);
    } else {
      out.findings.push_back({path_of(slot), "\"" + ref.artifact_id + "\"",
                              "names no artifact of yours: upload it first."});
    }
  }
  return out;
}

std::vector<Finding> compare_inputs(const JobSpec& spec, const JobInputs& inputs) {
  std::vector<Finding> out;
  expect(true, given(inputs.base_model), "base_model", "base_model", out);
  expect(true, given(inputs.train), "train", "data.train", out);
  expect(spec.data.validation.has_value(), inputs.validation.has_value(), "validation",
         "data.validation", out);
  expect(spec.data.chat_template.has_value(), inputs.chat_template.has_value(), "chat_template",
         "data.chat_template", out);
  expect(spec.method == Method::kLora && spec.lora.init_adapter.has_value(),
         inputs.init_adapter.has_value(), "init_adapter", "lora.init_adapter", out);
  return out;
}

void fill_from_node_paths(const JobSpec& spec, JobInputs& inputs) {
  fill(spec.base_model, inputs.base_model);
  fill(spec.data.train, inputs.train);
  fill(spec.data.validation, inputs.validation);
  fill(spec.data.chat_template, inputs.chat_template);
  if (spec.method == Method::kLora) fill(spec.lora.init_adapter, inputs.init_adapter);
}

}  // namespace ratchet::control

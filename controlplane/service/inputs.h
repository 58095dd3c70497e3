#pragma once

// What a job asks for as inputs, held against the artifacts of its tenant. Blocks.

#include <string>
#include <vector>

#include "controlplane/artifacts/artifact_store.h"
#include "proto/finding.h"
#include "proto/job_spec.h"
#include "proto/sync_message.h"

namespace ratchet::control {

enum class NodePaths { kAllowed, kRefused };

struct InputsVerdict {
  bool complete = true;           // nothing is still being uploaded
  std::vector<Finding> findings;  // what can never become right
};

// Names the artifacts of `inputs`, each once.
std::vector<std::string> input_artifacts(const JobInputs& inputs);

// Every input of the job is an artifact of the tenant, of a kind that fits and with the files that
// it needs, or, where that is allowed, an absolute path of the node.
InputsVerdict inspect_inputs(const ArtifactStore& artifacts, const std::string& tenant,
                             const JobInputs& inputs, NodePaths node_paths);

// Which inputs the spec needs and has not, and which it has and does not need. Pure.
std::vector<Finding> compare_inputs(const JobSpec& spec, const JobInputs& inputs);

// Where an input is not given and the spec's path is absolute, that path of the node. Pure.
void fill_from_node_paths(const JobSpec& spec, JobInputs& inputs);

}  // namespace ratchet::control

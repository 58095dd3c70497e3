#pragma once

// The core's rows as JSON documents: column `doc` of their tables. Keys that a document lacks leave
// the member at its default, unknown ones are passed over, so that rows can gain members without a
// migration.

#include <string>
#include <string_view>

#include "controlplane/core/rows.h"
#include "proto/result.h"

namespace ratchet::control {

std::string encode_row(const JobRow& row);  // without spec_json and inputs
std::string encode_row(const AttemptRow& row);
std::string encode_row(const NodeRow& row);
std::string encode_row(const CheckpointRow& row);
std::string encode_row(const IntentRow& row);
std::string encode_row(const InterruptionRow& row);
std::string encode_inputs(const JobInputs& inputs);

// kCorrupt when the document does not hold what its row does.
Status decode_row(std::string_view doc, JobRow& row);
Status decode_row(std::string_view doc, AttemptRow& row);
Status decode_row(std::string_view doc, NodeRow& row);
Status decode_row(std::string_view doc, CheckpointRow& row);
Status decode_row(std::string_view doc, IntentRow& row);
Status decode_row(std::string_view doc, InterruptionRow& row);
Status decode_inputs(std::string_view doc, JobInputs& inputs);

// "tags" of a JobSpec; nothing when the text is none.
std::vector<std::string> spec_tags(std::string_view spec_json);

}  // namespace ratchet::control

#pragma once

// JSON of an ExitRecord, wherever it stands: in events and in sync messages. Private to proto.

#include <nlohmann/json.hpp>

#include "proto/exit_record.h"
#include "proto/object_reader.h"

namespace ratchet {

// What one record may carry: messages are bounded, and what is quoted comes from anywhere.
struct ExitRecordLimits {
  std::size_t text = 4000;  // bytes
  std::size_t items = 200;  // of a list or of the evidence
};

void put_exit_record(nlohmann::json& out, const ExitRecord& record, ExitRecordLimits limits);
nlohmann::json evidence_json(const EvidenceValue& value, ExitRecordLimits limits);

void get_exit_record(ObjectReader& in, ExitRecord& record);
// An object of texts, numbers, true, false and arrays of texts; nothing when the key is absent.
void get_evidence(ObjectReader& in, std::string_view name,
                  std::map<std::string, EvidenceValue>& out);

}  // namespace ratchet

#include "trainer/model/rope_config.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "trainer/model/file_io.h"
#include "trainer/model/json_fields.h"

namespace ratchet::trainer {

namespace {

using Json = nlohmann::json;

constexpr double kDefaultTheta = 10000.0;
constexpr double kMaxTheta = 1e12;

// One object's statement about rope.
struct RopeStatement {
  std::optional<double> theta;
  std::optional<Llama3RopeScaling> scaling;
};

bool same(const std::optional<Llama3RopeScaling>& a, const std::optional<Llama3RopeScaling>& b) {
  if (a.has_value() != b.has_value()) return false;
  return !a || (a->factor == b->factor && a->low_freq_factor == b->low_freq_factor &&
                a->high_freq_factor == b->high_freq_factor &&
                a->original_max_position_embeddings == b->original_max_position_embeddings);
}

Llama3RopeScaling read_llama3(const JsonFields& fields) {
  constexpr double kMaxFactor = 1e6;
  const auto needed = [&](const char* key) {
    if (fields.find(key) == nullptr) fields.fault(key, "rope type llama3 needs it");
    return fields.maybe_number(key, 0.0, kMaxFactor).value_or(1.0);
  };
  Llama3RopeScaling scaling;
  scaling.factor = needed("factor");
  scaling.low_freq_factor = needed("low_freq_factor");
  scaling.high_freq_factor = needed("high_freq_factor");
  const char* original = "original_max_position_embeddings";
  if (fields.find(original) == nullptr) fields.fault(original, "rope type llama3 needs it");
  scaling.original_max_position_embeddings = fields.maybe_integer(original, 1, 1 << 28).value_or(1);
  if (fields.find("factor") != nullptr && scaling.factor < 1.0) {
    fields.fault("factor", "a factor of at least 1 is needed");
  }
  if (fields.find("high_freq_factor") != nullptr &&
      scaling.high_freq_factor <= scaling.low_freq_factor) {
    fields.fault("high_freq_factor", "it must be larger than low_freq_factor");
  }
  return scaling;
}

Status refuse_partial(const JsonFields& fields) {
  const auto partial = fields.maybe_number("partial_rotary_factor", 0.0, 1.0);
  if (!partial || *partial == 1.0) return ok();
  return Error{Code::kUnsupported,
               cat("The config rotates a part of each head only (partial_rotary_factor ", *partial,
                   "), which is not supported.")};
}

Result<RopeStatement> read_statement(const Json& object, const char* name,
                                     std::vector<std::string>& faults) {
  const JsonFields fields(object, cat(name, "."), faults);
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      return Error{Code::kUnsupported,
                   cat("The config has rotary parameters for each layer type ('", name, ".", key,
                       "'), which is not supported.")};
    }
  }
  if (Status refused = refuse_partial(fields); !refused) return refused.error();
  const auto new_type = fields.maybe_text("rope_type");
  const auto old_type = fields.maybe_text("type");  // what files before transformers 4.43 say
  if (new_type && old_type && *new_type != *old_type) {
    fields.fault("rope_type", cat("'type' says '", *old_type, "', and the two must agree"));
  }
  const std::string type = new_type ? *new_type : old_type.value_or("default");
  if (!new_type && !old_type && fields.find("factor") != nullptr) {
    fields.fault("rope_type", "a scaling factor without a type has no meaning");
  }
  RopeStatement statement;
  statement.theta = fields.maybe_number("rope_theta", 0.0, kMaxTheta);
  if (type == "llama3") {
    statement.scaling = read_llama3(fields);
  } else if (type != "default") {
    return Error{Code::kUnsupported, cat("Rope scaling of the type '", type,
                                         "' is not supported; plain rope and 'llama3' are.")};
  }
  return statement;
}

}  // namespace

Status read_rope(const Json& document, std::vector<std::string>& faults, ModelConfig& config) {
  const JsonFields fields(document, "", faults);
  if (Status refused = refuse_partial(fields); !refused) return refused;
  std::optional<double> theta = fields.maybe_number("rope_theta", 0.0, kMaxTheta);
  std::optional<RopeStatement> stated;
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const Json* object = fields.maybe_object(name);
    if (object == nullptr || object->empty()) continue;
    Result<RopeStatement> statement = read_statement(*object, name, faults);
    if (!statement) return statement.error();
    if (theta && statement->theta && *theta != *statement->theta) {
      fields.fault(name, cat("its rope_theta differs from the ", *theta, " said elsewhere"));
    }
    if (stated && !same(stated->scaling, statement->scaling)) {
      fields.fault(name, "it differs from what rope_scaling says, and the two must agree");
    }
    if (statement->theta) theta = statement->theta;
    stated = std::move(*statement);
  }
  config.rope_theta = theta.value_or(kDefaultTheta);
  config.rope_scaling = stated ? stated->scaling : std::nullopt;
  return ok();
}

}  // namespace ratchet::trainer

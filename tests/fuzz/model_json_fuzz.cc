// Arbitrary bytes as each of the JSON documents of model and adapter folders: never a crash, every
// refusal has a reason, and what is accepted can be used without further checks.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "trainer/model/adapter_config.h"
#include "trainer/model/lora_layout.h"
#include "trainer/model/model_config.h"
#include "trainer/model/model_tensors.h"
#include "trainer/model/shard_index.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void try_model_config(std::string_view text) {
  const auto config = ratchet::trainer::parse_model_config(text);
  require(config.has_value() || !config.error().message.empty());
  if (!config) return;
  require(config->head_dim > 0 && config->head_count % config->kv_head_count == 0);
  require(config->sliding_windows.size() == static_cast<std::size_t>(config->layer_count));
  require(ratchet::trainer::parameter_count(*config) > 0);
  const auto layout = ratchet::trainer::make_lora_layout(*config, {.rank = 8, .alpha = 16.0},
                                                         ratchet::trainer::kAllTargetModules);
  require(layout.has_value() && layout->arena.arena_size > 0);
}

void try_adapter_config(std::string_view text) {
  const auto config = ratchet::trainer::parse_adapter_config(text);
  require(config.has_value() || !config.error().message.empty());
  if (!config) return;
  require(config->rank > 0 && config->alpha > 0.0);
  const auto again =
      ratchet::trainer::parse_adapter_config(ratchet::trainer::adapter_config_json(*config));
  require(again.has_value() && again->target_modules == config->target_modules);
}

void try_shard_index(std::string_view text) {
  const auto index = ratchet::trainer::parse_shard_index(text);
  require(index.has_value() || !index.error().message.empty());
  if (!index) return;
  for (const std::string& file : index->files) {
    require(file.find('/') == std::string::npos && file != "..");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try_model_config(text);
  try_adapter_config(text);
  try_shard_index(text);
  const auto generation = ratchet::trainer::parse_generation_config(text);
  require(generation.has_value() || !generation.error().message.empty());
  return 0;
}

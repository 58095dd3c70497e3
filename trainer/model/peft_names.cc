#include "trainer/model/peft_names.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace ratchet::trainer {

namespace {

// PEFT's own; with one "model." less (a known fault of writers); of a file saved from the bare
// model; and none at all.
constexpr std::array<std::string_view, 4> kPrefixes = {kPeftPrefix, "base_model.model.", "model.",
                                                       ""};

// Removes `expected` from the front of `text`.
bool eat(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

std::optional<TargetModule> eat_module(std::string_view& text) {
  for (const TargetModule module : kAllTargetModules) {
    if (eat(text, target_module_path(module))) return module;
  }
  return std::nullopt;
}

}  // namespace

std::optional<PeftName> parse_peft_name(std::string_view name) {
  PeftName parsed;
  const auto* prefix = std::find_if(kPrefixes.begin(), kPrefixes.end(), [&](std::string_view p) {
    return name.starts_with(p) && name.substr(p.size()).starts_with("layers.");
  });
  if (prefix == kPrefixes.end()) return std::nullopt;
  parsed.prefix = *prefix;
  name.remove_prefix(prefix->size() + std::string_view("layers.").size());

  const auto [end, error] =
      std::from_chars(name.data(), name.data() + name.size(), parsed.site.layer);
  const auto digits = static_cast<std::size_t>(end - name.data());
  // "07" and "+7" are other names for a layer that has a name already.
  if (error != std::errc{} || parsed.site.layer < 0 || (digits > 1 && name.front() == '0') ||
      name.front() == '-') {
    return std::nullopt;
  }
  name.remove_prefix(digits);
  if (!eat(name, ".")) return std::nullopt;
  const std::optional<TargetModule> module = eat_module(name);
  if (!module) return std::nullopt;
  parsed.site.module = *module;
  if (eat(name, ".lora_A")) {
    parsed.factor = LoraFactor::kA;
  } else if (eat(name, ".lora_B")) {
    parsed.factor = LoraFactor::kB;
  } else if (eat(name, ".lora_magnitude_vector")) {
    parsed.factor = LoraFactor::kMagnitude;
  } else {
    return std::nullopt;
  }
  // PEFT leaves the ending away for magnitudes; hand-made files may have it.
  const bool ends = name.ends_with(".weight");
  if (!ends && parsed.factor != LoraFactor::kMagnitude) return std::nullopt;
  if (ends) name.remove_suffix(std::string_view(".weight").size());
  if (name.empty()) return parsed;
  if (!eat(name, ".") || name.empty() || name.find('.') != std::string_view::npos) {
    return std::nullopt;
  }
  parsed.adapter = name;
  return parsed;
}

}  // namespace ratchet::trainer

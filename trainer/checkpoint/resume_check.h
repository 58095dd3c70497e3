#pragma once

// May this checkpoint be resumed here, and how exact will it be? Pure functions over facts.

#include <string>
#include <string_view>
#include <vector>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "trainer/checkpoint/manifest.h"

namespace ratchet::trainer {

// Class A, B or C of a resume of what `saved` wrote in `now`, each difference a sentence.
Exactness classify_resume(const EnvFingerprint& saved, const EnvFingerprint& now);

// The class of a chain: the worse of the two, reasons of both.
Exactness combine(const Exactness& before, const Exactness& resume);

// Rung V5. ok() when both name the same job inputs and no locked setting differs; else
// kFailedPrecondition, whose text names each change, was and is, and what may change. Recipes are
// canonical JobSpec texts. An empty digest on both sides is equal.
Status check_identity(const Identity& saved, std::string_view saved_recipe, const Identity& now,
                      std::string_view recipe_now);

// "$.training.micro_batch: 4 -> 2": settings that differ and may. Empty when a text does not
// decode.
std::vector<std::string> allowed_recipe_changes(std::string_view saved, std::string_view now);

}  // namespace ratchet::trainer

#include "trainer/checkpoint/resume_check.h"

#include <algorithm>
#include <utility>

namespace ratchet::trainer {
namespace {

std::string quoted(const std::string& text) { return text.empty() ? "none" : "'" + text + "'"; }

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

class Differences {
 public:
  void text(ResumeClass cls, std::string_view what, const std::string& was, const std::string& is) {
    if (was != is) note(cls, std::string(what) + " was " + quoted(was) + " and is " + quoted(is));
  }
  void number(ResumeClass cls, std::string_view what, std::uint64_t was, std::uint64_t is) {
    text(cls, what, std::to_string(was), std::to_string(is));
  }
  void note(ResumeClass cls, std::string reason) {
    result_.cls = std::max(result_.cls, cls);
    result_.reasons.push_back(std::move(reason) + ".");
  }
  Exactness take() { return std::move(result_); }

 private:
  Exactness result_;
};

struct NamedDigest {
  std::string_view what;
  std::string Identity::* digest;
};

// The recipe is compared setting by setting.
constexpr NamedDigest kDigests[] = {
    {"the base model", &Identity::base_model},
    {"the tokenizer", &Identity::tokenizer},
    {"the training data", &Identity::dataset},
    {"the chat template", &Identity::chat_template},
};

std::string short_digest(const std::string& digest) {
  return digest.empty() ? "none" : digest.substr(0, 12);
}

// Full sentences of what differs and must not.
std::vector<std::string> locked_recipe_changes(std::string_view saved, std::string_view now) {
  if (saved == now) return {};
  const auto before = decode_job_spec(saved);
  const auto after = decode_job_spec(now);
  if (!before.ok() || !after.ok()) {
    return {std::string("the settings (those of the ") + (before.ok() ? "job" : "checkpoint") +
            " do not decode, so they cannot be compared)"};
  }
  std::vector<std::string> changes;
  for (const SpecChange& change : locked_changes(*before.value, *after.value)) {
    changes.push_back(change.path + " (was " + change.before + ", is " + change.now + ")");
  }
  return changes;
}

}  // namespace

Exactness classify_resume(const EnvFingerprint& saved, const EnvFingerprint& now) {
  constexpr ResumeClass kB = ResumeClass::kSameData;
  constexpr ResumeClass kC = ResumeClass::kDegraded;
  Differences d;
  // Another build may order, mask or add differently anywhere; other switches change the
  // arithmetic.
  d.text(kC, "The trainer build", saved.trainer_build, now.trainer_build);
  d.text(kC, "The set of arithmetic switches", joined(saved.flags, " "), joined(now.flags, " "));
  d.text(kB, "The device", saved.device, now.device);
  d.text(kB, "The CPU instruction set", saved.cpu_isa, now.cpu_isa);
  d.number(kB, "The number of threads", saved.threads, now.threads);
  d.text(kB, "The GPU", saved.gpu_name, now.gpu_name);
  d.number(kB, "The number of multiprocessors", saved.sm_count, now.sm_count);
  d.text(kB, "The driver", saved.driver, now.driver);
  d.text(kB, "CUDA", saved.cuda, now.cuda);
  d.text(kB, "cuBLAS", saved.cublas, now.cublas);
  d.text(kB, "cuDNN", saved.cudnn, now.cudnn);
  d.text(kB, "LibTorch", saved.libtorch, now.libtorch);
  d.text(kB, "The attention backend", saved.attention, now.attention);
  d.number(kB, "The number of devices", saved.world_size, now.world_size);
  d.number(kB, "The micro-batch", saved.micro_batch, now.micro_batch);
  if (!saved.deterministic || !now.deterministic) {
    d.note(kB, "Deterministic mode is off, so two executions need not agree");
  }
  return d.take();
}

Exactness combine(const Exactness& before, const Exactness& resume) {
  Exactness all = before;
  all.cls = std::max(before.cls, resume.cls);
  for (const std::string& reason : resume.reasons) {
    const bool known =
        std::find(all.reasons.begin(), all.reasons.end(), reason) != all.reasons.end();
    if (!known && all.reasons.size() < kMaxReasons) all.reasons.push_back(reason);
  }
  return all;
}

Status check_identity(const Identity& saved, std::string_view saved_recipe, const Identity& now,
                      std::string_view recipe_now) {
  std::vector<std::string> changed;
  for (const NamedDigest& item : kDigests) {
    const std::string& was = saved.*item.digest;
    const std::string& is = now.*item.digest;
    if (was == is) continue;
    changed.push_back(std::string(item.what) + " (digest was " + short_digest(was) + ", is " +
                      short_digest(is) + ")");
  }
  for (std::string& change : locked_recipe_changes(saved_recipe, recipe_now)) {
    changed.push_back(std::move(change));
  }
  if (changed.empty()) return ok();
  std::vector<std::string> free;
  for (const std::string_view path : resumable_paths()) free.emplace_back(path);
  return Error{Code::kFailedPrecondition,
               "Changed since the checkpoint was written: " + joined(changed, "; ") +
                   ". A resume goes on with the same job: restore what changed, or start a new job "
                   "in another output folder. These may change: " +
                   joined(free, ", ") + "."};
}

std::vector<std::string> allowed_recipe_changes(std::string_view saved, std::string_view now) {
  std::vector<std::string> changes;
  const auto before = decode_job_spec(saved);
  const auto after = decode_job_spec(now);
  if (!before.ok() || !after.ok()) return changes;
  for (const SpecChange& change : allowed_changes(*before.value, *after.value)) {
    changes.push_back(change.path + ": " + change.before + " -> " + change.now);
  }
  return changes;
}

}  // namespace ratchet::trainer

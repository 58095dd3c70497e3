// ratchet-trainer generate DIR: text from a model, with or without an adapter.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/cli/command.h"
#include "trainer/cli/model_flags.h"
#include "trainer/hf/chat_template.h"
#include "trainer/hf/tokenizer.h"
#include "trainer/train/job_inputs.h"

namespace ratchet::trainer::cli {
namespace {

struct GenerateArgs {
  ModelFlags model;
  std::optional<std::string> prompt;
  std::vector<int32_t> prompt_ids;
  std::optional<std::string> chat;
  std::string template_file;
  SamplingArgs sampling;
  bool json = false;
};

// A message text, or a JSON array of messages.
std::string messages_of(const std::string& chat) {
  const auto parsed = nlohmann::json::parse(chat, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_array()) {
    return chat;
  }
  return nlohmann::json::array({{{"role", "user"}, {"content", chat}}}).dump();
}

Result<std::vector<int32_t>> encode_chat(const GenerateArgs& args, const Tokenizer& tokenizer) {
  const auto chat_template = ChatTemplate::load(
      args.model.folder, args.template_file.empty()
                             ? std::nullopt
                             : std::optional<std::filesystem::path>(args.template_file));
  if (!chat_template) {
    return chat_template.error();
  }
  RenderOptions options;
  options.add_generation_prompt = true;
  options.now_s = std::chrono::duration_cast<std::chrono::seconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
  const auto rendered = chat_template->render(messages_of(*args.chat), options);
  if (!rendered) {
    return rendered.error();
  }
  return tokenizer.encode(rendered->text, AddSpecial::kNo);
}

Result<std::vector<int32_t>> prompt_ids(const GenerateArgs& args, const Tokenizer& tokenizer) {
  if (!args.prompt_ids.empty()) {
    return args.prompt_ids;
  }
  if (args.chat) {
    return encode_chat(args, tokenizer);
  }
  auto ids = tokenizer.encode(*args.prompt, AddSpecial::kYes);
  if (ids && ids->empty() && tokenizer.bos_id()) {
    ids->push_back(*tokenizer.bos_id());
  }
  return ids;
}

int generate(GenerateArgs args) {
  const int given = (args.prompt ? 1 : 0) + (args.prompt_ids.empty() ? 0 : 1) + (args.chat ? 1 : 0);
  if (given != 1) {
    std::fprintf(stderr, "error: Name the prompt by one of --prompt, --prompt-ids or --chat.\n");
    return kExitUsage;
  }
  auto folder = HfFolder::open(args.model.folder);
  if (!folder) {
    return fail(folder.error());
  }
  const auto tokenizer = Tokenizer::load(args.model.folder);
  if (!tokenizer) {
    return fail(tokenizer.error());
  }
  const auto ids = prompt_ids(args, *tokenizer);
  if (!ids) {
    return fail(ids.error());
  }
  for (const int32_t id : *ids) {
    if (id < 0 || id >= folder->config().vocab_size) {
      return fail({Code::kInvalidArgument, "Prompt id " + std::to_string(id) +
                                               " is outside of the model's vocabulary of " +
                                               std::to_string(folder->config().vocab_size) + "."});
    }
  }
  if (ids->empty()) {
    return fail({Code::kInvalidArgument, "The prompt is empty and the tokenizer has no BOS."});
  }
  const auto model = open_model(args.model, *folder);
  if (!model) {
    return fail(model.error());
  }
  args.sampling.stop_token_ids = folder->stop_token_ids();
  if (tokenizer->eos_id()) {
    args.sampling.stop_token_ids.push_back(*tokenizer->eos_id());
  }
  const auto fresh = (*model)->generate(*ids, args.sampling, {});
  // Decoded with the prompt, so that a tokenizer that strips leading spaces does not eat one.
  auto all = *ids;
  all.insert(all.end(), fresh.begin(), fresh.end());
  const auto whole = tokenizer->decode(all, SkipSpecial::kYes);
  const auto before = tokenizer->decode(*ids, SkipSpecial::kYes);
  if (!whole || !before) {
    return fail(whole ? before.error() : whole.error());
  }
  const std::string text =
      whole->compare(0, before->size(), *before) == 0 ? whole->substr(before->size()) : *whole;
  if (args.json) {
    std::puts(nlohmann::json({{"text", text}, {"ids", fresh}, {"prompt_ids", *ids}})
                  .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                  .c_str());
  } else {
    std::puts(text.c_str());
  }
  return kExitOk;
}

}  // namespace

void add_generate_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<GenerateArgs>();
  CLI::App* command = app.add_subcommand("generate", "Text from a model");
  command->footer(
      "Greedy unless --temperature is above 0; sampling is seeded and repeats itself.\n"
      "Example:  ratchet-trainer generate models/qwen2 --adapter runs/first/adapter \\\n"
      "            --chat 'Where is the torque wrench?'");
  add_model_flags(*command, args->model);
  command->add_option("--prompt", args->prompt, "text to go on from");
  command->add_option("--prompt-ids", args->prompt_ids, "token ids to go on from: 1,2,3")
      ->delimiter(',');
  command->add_option("--chat", args->chat, "a user message, or a JSON array of messages");
  command->add_option("--template", args->template_file,
                      "chat template file, instead of the folder's own");
  command->add_option("--max-new", args->sampling.max_new_tokens, "most tokens to make")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--temperature", args->sampling.temperature, "0 is greedy")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--top-k", args->sampling.top_k, "keep the k likeliest; 0 is off")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--top-p", args->sampling.top_p, "keep the likeliest up to this mass")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--seed", args->sampling.seed, "seed of the sampling");
  command->add_flag("--json", args->json, "one object: text, ids, prompt_ids");
  command->callback([args, &selected] { selected = [args] { return generate(*args); }; });
}

}  // namespace ratchet::trainer::cli

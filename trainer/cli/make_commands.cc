// ratchet-trainer make-tokenizer and make-model: what training from scratch starts from.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "trainer/cli/command.h"
#include "trainer/hf/bpe_training.h"
#include "trainer/model/random_weights.h"

namespace ratchet::trainer::cli {
namespace {

struct MakeTokenizerArgs {
  std::string data;
  std::string out;
  int32_t vocab_size = 1024;
  bool json = false;
};

Result<std::vector<std::string>> read_texts(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return Error{Code::kNotFound, "Cannot open '" + path + "'. Check the path."};
  }
  std::vector<std::string> texts;
  std::string line;
  for (uint64_t number = 1; std::getline(file, line); ++number) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("text") || !row["text"].is_string()) {
      return Error{Code::kInvalidArgument, "Line " + std::to_string(number) + " of '" + path +
                                               "' is not {\"text\": \"...\"}."};
    }
    texts.push_back(row["text"].get<std::string>());
  }
  return texts;
}

int make_tokenizer(const MakeTokenizerArgs& args) {
  const auto texts = read_texts(args.data);
  if (!texts) {
    return fail(texts.error());
  }
  BpeTraining training;
  training.vocab_size = args.vocab_size;
  const auto json = train_bpe(*texts, training);
  if (!json) {
    return fail(json.error());
  }
  std::error_code made;
  std::filesystem::create_directories(args.out, made);
  if (made) {
    return fail({Code::kIo, "Cannot create '" + args.out + "': " + made.message() + "."});
  }
  if (auto written = write_tokenizer_folder(args.out, *json, default_tokenizer_config());
      !written) {
    return fail(written.error());
  }
  if (args.json) {
    std::puts(nlohmann::json({{"out", args.out}, {"texts", texts->size()}}).dump().c_str());
  } else {
    std::printf("Wrote a tokenizer trained on %zu texts to %s\n", texts->size(), args.out.c_str());
  }
  return kExitOk;
}

struct MakeModelArgs {
  std::string config;
  std::string tokenizer;
  std::string out;
  uint64_t seed = 0;
  std::string dtype = "bf16";
  uint64_t shard_bytes = 5'000'000'000;
  bool json = false;
};

int make_model(const MakeModelArgs& args) {
  RandomWeightsArgs weights;
  weights.seed = args.seed;
  weights.dtype = args.dtype == "fp32" ? DType::kF32 : DType::kBF16;
  weights.max_shard_bytes = args.shard_bytes;
  if (auto made = make_random_model(args.out, args.config, args.tokenizer, weights); !made) {
    return fail(made.error());
  }
  if (args.json) {
    std::puts(nlohmann::json({{"out", args.out}, {"seed", args.seed}}).dump().c_str());
  } else {
    std::printf("Wrote a model with random weights (seed %llu) to %s\n",
                static_cast<unsigned long long>(args.seed), args.out.c_str());
  }
  return kExitOk;
}

}  // namespace

void add_make_tokenizer_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<MakeTokenizerArgs>();
  CLI::App* command =
      app.add_subcommand("make-tokenizer", "Trains a byte-level BPE tokenizer on text rows");
  command->footer(
      "The folder gets tokenizer.json and a tokenizer_config.json with a chat template.\n"
      "Example:  ratchet-trainer make-tokenizer text.jsonl my-tokenizer --vocab 1024");
  command->add_option("DATA", args->data, "JSONL file of {\"text\": ...} rows")->required();
  command->add_option("OUT", args->out, "folder to write")->required();
  command->add_option("--vocab", args->vocab_size, "tokens in the vocabulary")
      ->capture_default_str()
      ->check(CLI::Range(300, 1000000));
  command->add_flag("--json", args->json, "one object: out, texts");
  command->callback([args, &selected] { selected = [args] { return make_tokenizer(*args); }; });
}

void add_make_model_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<MakeModelArgs>();
  CLI::App* command = app.add_subcommand("make-model", "Makes a model folder with random weights");
  command->footer(
      "For training from scratch, tests and benchmarks. The same seed gives the same bytes.\n"
      "Example:  ratchet-trainer make-model config.json out --tokenizer my-tokenizer --seed 7");
  command->add_option("CONFIG", args->config, "config.json of the model")->required();
  command->add_option("OUT", args->out, "folder to write; new or empty")->required();
  command->add_option("--tokenizer", args->tokenizer, "folder whose tokenizer files are copied");
  command->add_option("--seed", args->seed, "seed of the weights")->capture_default_str();
  command->add_option("--dtype", args->dtype, "bf16 or fp32")
      ->capture_default_str()
      ->check(CLI::IsMember({"bf16", "fp32"}));
  command->add_option("--shard-bytes", args->shard_bytes, "largest weight file")
      ->capture_default_str();
  command->add_flag("--json", args->json, "one object: out, seed");
  command->callback([args, &selected] { selected = [args] { return make_model(*args); }; });
}

}  // namespace ratchet::trainer::cli

// ratchet-trainer tokenize DIR: one JSON string a line in, one JSON array of ids a line out.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "trainer/cli/command.h"
#include "trainer/hf/tokenizer.h"

namespace ratchet::trainer::cli {
namespace {

struct TokenizeArgs {
  std::string folder;
  bool special = false;
  bool json = false;
};

int tokenize(const TokenizeArgs& args) {
  const auto tokenizer = Tokenizer::load(args.folder);
  if (!tokenizer) {
    return fail(tokenizer.error());
  }
  int result = kExitOk;
  std::string line;
  for (uint64_t number = 1; std::getline(std::cin, line); ++number) {
    const auto text = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!text.is_string()) {
      std::fprintf(stderr, "error: Line %llu of the input is not one JSON string.\n",
                   static_cast<unsigned long long>(number));
      return kExitFailure;
    }
    const auto ids = tokenizer->encode(text.get<std::string>(),
                                       args.special ? AddSpecial::kYes : AddSpecial::kNo);
    if (!ids) {
      std::fprintf(stderr, "error: Line %llu: %s\n", static_cast<unsigned long long>(number),
                   ids.error().message.c_str());
      result = kExitFailure;
      std::puts("null");
      continue;
    }
    std::puts(nlohmann::json(*ids).dump().c_str());
  }
  return result;
}

}  // namespace

void add_tokenize_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<TokenizeArgs>();
  CLI::App* command = app.add_subcommand("tokenize", "Token ids of texts");
  command->footer(
      "Reads one JSON string a line from standard input and writes one JSON array of ids a line.\n"
      "Example:  echo '\"Hello world\"' | ratchet-trainer tokenize models/qwen2");
  command->add_option("DIR", args->folder, "folder with tokenizer.json")->required();
  command->add_flag("--special", args->special,
                    "add the special tokens that tokenizer.json's post_processor adds (BOS, ...)");
  command->add_flag("--json", args->json, "accepted for symmetry: the output is JSON always");
  command->callback([args, &selected] { selected = [args] { return tokenize(*args); }; });
}

}  // namespace ratchet::trainer::cli

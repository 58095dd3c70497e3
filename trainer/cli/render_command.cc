// ratchet-trainer render DIR DATA: how each row is seen by the trainer.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "proto/job_spec.h"
#include "proto/words.h"
#include "trainer/cli/command.h"
#include "trainer/cli/data_flags.h"
#include "trainer/data/render_rows.h"
#include "trainer/hf/chat_template.h"
#include "trainer/hf/tokenizer.h"
#include "trainer/train/job_inputs.h"

namespace ratchet::trainer::cli {
namespace {

struct RenderArgs {
  std::string folder;
  std::string data;
  std::string template_file;
  DataFlags flags;
  bool generation_prompt = false;
  bool json = false;
  std::optional<uint64_t> row;
};

// The text token by token; trained ones green on a terminal, in [[ ]] elsewhere.
void print_tokens(const EncodedSample& sample, const Tokenizer& tokenizer, bool colour) {
  const char* open = colour ? "\033[32m" : "[[";
  const char* close = colour ? "\033[0m" : "]]";
  std::vector<int32_t> run;
  bool trained = false;
  const auto flush = [&] {
    if (run.empty()) {
      return;
    }
    const auto text = tokenizer.decode(run, SkipSpecial::kNo);
    std::printf("%s%s%s", trained ? open : "", text ? text->c_str() : "<undecodable>",
                trained ? close : "");
    run.clear();
  };
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    if ((sample.train[i] != 0) != trained) {
      flush();
      trained = sample.train[i] != 0;
    }
    run.push_back(sample.ids[i]);
  }
  flush();
}

void print_row(const RenderedRow& row, const Tokenizer& tokenizer, bool colour) {
  std::printf("--- row %llu, line %llu", static_cast<unsigned long long>(row.row),
              static_cast<unsigned long long>(row.line));
  if (!row.error.empty()) {
    std::printf("\nerror: %s\n", row.error.c_str());
    return;
  }
  size_t trained = 0;
  for (const uint8_t flag : row.sample.train) {
    trained += flag;
  }
  std::printf(": %zu tokens, %zu trained\n", row.sample.ids.size(), trained);
  print_tokens(row.sample, tokenizer, colour);
  std::printf("\nids:");
  for (size_t i = 0; i < row.sample.ids.size(); ++i) {
    const char* mark = row.sample.train[i] != 0 ? (colour ? "\033[32m" : "*") : "";
    std::printf(" %s%d%s", mark, row.sample.ids[i],
                colour && row.sample.train[i] != 0 ? "\033[0m" : "");
  }
  std::printf("\n");
}

int render(const RenderArgs& args) {
  RenderRowsOptions options;
  if (auto parsed = parse_data_flags(args.flags, options.format, options.columns); !parsed) {
    return fail(parsed.error());
  }
  options.add_generation_prompt = args.generation_prompt;
  options.only_row = args.row;
  const auto tokenizer = Tokenizer::load(args.folder);
  if (!tokenizer) {
    return fail(tokenizer.error());
  }
  const auto chat_template = find_chat_template(
      args.folder, args.template_file.empty() ? std::nullopt : std::optional(args.template_file));
  if (!chat_template) {
    return fail(chat_template.error());
  }
  const SampleEncoder encoder(*tokenizer, chat_template->get());
  const bool colour = is_colour_terminal(STDOUT_FILENO);
  bool all_fine = true;
  const auto done = render_rows(args.data, encoder, options, [&](const RenderedRow& row) {
    all_fine = all_fine && row.error.empty();
    if (args.json) {
      std::puts(rendered_json(row).c_str());
    } else {
      print_row(row, *tokenizer, colour);
    }
    return true;
  });
  if (!done) {
    return fail(done.error());
  }
  if (!all_fine) {
    std::fprintf(stderr, "error: Some rows cannot be rendered; see their messages above.\n");
  }
  return all_fine ? kExitOk : kExitFailure;
}

}  // namespace

void add_render_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<RenderArgs>();
  CLI::App* command = app.add_subcommand("render", "Shows how each data row is seen");
  command->footer(
      "Prints the template's text, the ids, and which tokens are trained: green on a terminal,\n"
      "[[ ]] and * elsewhere.\n"
      "Example:  ratchet-trainer render models/qwen2 chats.jsonl --row 0");
  command->add_option("DIR", args->folder, "model or tokenizer folder")->required();
  command->add_option("DATA", args->data, "data file")->required();
  command->add_option("--template", args->template_file,
                      "chat template file, instead of the folder's own");
  command->add_flag("--add-generation-prompt", args->generation_prompt,
                    "show each row as the model is asked, up to the answer");
  command->add_option("--row", args->row, "only this row (counted from 0)");
  command->add_flag("--json", args->json, "one object a row: row, text, ids, train, or error");
  add_data_flags(*command, args->flags);
  command->callback([args, &selected] { selected = [args] { return render(*args); }; });
}

}  // namespace ratchet::trainer::cli

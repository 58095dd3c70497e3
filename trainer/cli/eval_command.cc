// ratchet-trainer eval DIR DATA: mean loss over the trained tokens. Deterministic.

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "trainer/cli/command.h"
#include "trainer/cli/data_flags.h"
#include "trainer/cli/model_flags.h"
#include "trainer/data/structural_check.h"
#include "trainer/data/tokenized_dataset.h"
#include "trainer/train/job_inputs.h"

namespace ratchet::trainer::cli {
namespace {

struct EvalArgs {
  ModelFlags model;
  std::string data;
  std::string template_file;
  DataFlags flags;
  int64_t sequence_length = 1 << 20;
  bool json = false;
};

int eval(const EvalArgs& args) {
  TokenizeOptions options;
  if (auto parsed = parse_data_flags(args.flags, options.format, options.columns); !parsed) {
    return fail(parsed.error());
  }
  options.sequence_length = static_cast<std::uint32_t>(args.sequence_length);
  auto folder = HfFolder::open(args.model.folder);
  if (!folder) {
    return fail(folder.error());
  }
  const auto tokenizer = Tokenizer::load(args.model.folder);
  if (!tokenizer) {
    return fail(tokenizer.error());
  }
  const auto chat_template = find_chat_template(
      args.model.folder,
      args.template_file.empty() ? std::nullopt : std::optional(args.template_file));
  if (!chat_template) {
    return fail(chat_template.error());
  }
  const auto report = tokenize_file(args.data, *tokenizer, chat_template->get(), options);
  if (!report) {
    return fail(report.error());
  }
  if (!report->passed()) {
    return fail(data_error(args.data, report->findings));
  }
  const auto model = open_model(args.model, *folder);
  if (!model) {
    return fail(model.error());
  }
  const LossSum sum = (*model)->evaluate(report->dataset);
  const double mean = sum.nll / static_cast<double>(sum.trained_tokens);
  if (args.json) {
    std::puts(nlohmann::json({{"mean_loss", mean},
                              {"perplexity", std::exp(mean)},
                              {"trained_tokens", sum.trained_tokens},
                              {"samples", report->dataset.samples()}})
                  .dump()
                  .c_str());
  } else {
    std::printf("mean loss %.6f, perplexity %.4f, over %lld trained tokens of %llu samples\n", mean,
                std::exp(mean), static_cast<long long>(sum.trained_tokens),
                static_cast<unsigned long long>(report->dataset.samples()));
  }
  return kExitOk;
}

}  // namespace

void add_eval_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<EvalArgs>();
  CLI::App* command = app.add_subcommand("eval", "Mean loss of a model on a data file");
  command->footer(
      "The loss is taken on the same tokens that training would train. No dropout; the same input\n"
      "gives the same bits on the same machine.\n"
      "Example:  ratchet-trainer eval models/qwen2 heldout.jsonl --adapter runs/first/adapter");
  add_model_flags(*command, args->model);
  command->add_option("DATA", args->data, "data file")->required();
  command->add_option("--template", args->template_file,
                      "chat template file, instead of the folder's own");
  command->add_option("--sequence-length", args->sequence_length, "longer rows are an error")
      ->check(CLI::Range(2, 1 << 20));
  command->add_flag("--json", args->json, "one object: mean_loss, perplexity, trained_tokens");
  add_data_flags(*command, args->flags);
  command->callback([args, &selected] { selected = [args] { return eval(*args); }; });
}

}  // namespace ratchet::trainer::cli

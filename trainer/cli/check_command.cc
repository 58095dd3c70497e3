// ratchet-trainer check: every fault of spec, model folder and data before anything is loaded, and
// what the job will cost.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "trainer/cli/command.h"
#include "trainer/cli/data_flags.h"
#include "trainer/cli/spec_file.h"
#include "trainer/data/structural_check.h"
#include "trainer/telemetry/format.h"
#include "trainer/train/job_forecast.h"
#include "trainer/train/step_engine.h"

namespace ratchet::trainer::cli {
namespace {

struct CheckArgs {
  SpecFlags spec;
  std::string data;
  std::string model;
  std::string template_file;
  DataFlags flags;
  uint64_t show = 3;
  bool json = false;
};

// Share of a large matrix product's speed that a whole step was seen to reach on a CPU.
constexpr double kStepEfficiency = 0.6;

nlohmann::json findings_array(const FindingLog& log) {
  auto array = nlohmann::json::array();
  for (const DataFinding& finding : log.sorted()) {
    array.push_back(nlohmann::json::parse(finding_json(finding)));
  }
  return array;
}

void print_findings(const FindingLog& log) {
  for (const DataFinding& finding : log.sorted()) {
    std::fprintf(
        stderr, "%s %s, line %llu%s%s: %s\n", std::string(severity_word(finding.severity)).c_str(),
        std::string(finding.info().code).c_str(),
        static_cast<unsigned long long>(finding.place.line), finding.field_path.empty() ? "" : ", ",
        finding.field_path.c_str(), finding.message.c_str());
    if (!finding.current.empty()) {
      std::fprintf(stderr, "    found: %s\n", finding.current.c_str());
    }
    std::fprintf(stderr, "    fix: %s\n", std::string(finding.info().fix).c_str());
  }
  std::fprintf(stderr, "%llu critical, %llu warnings, %llu notes\n",
               static_cast<unsigned long long>(log.count(Severity::kCritical)),
               static_cast<unsigned long long>(log.count(Severity::kWarning)),
               static_cast<unsigned long long>(log.count(Severity::kInfo)));
}

nlohmann::json counts_of(const FindingLog& log) {
  return {{"critical", log.count(Severity::kCritical)},
          {"warning", log.count(Severity::kWarning)},
          {"info", log.count(Severity::kInfo)}};
}

int report_data(const CheckArgs& args, const FindingLog& log, nlohmann::json facts) {
  const bool passed = log.count(Severity::kCritical) == 0;
  if (args.json) {
    facts["passed"] = passed;
    facts["counts"] = counts_of(log);
    facts["findings"] = findings_array(log);
    std::puts(facts.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    for (const auto& [key, value] : facts.items()) {
      std::printf("%-16s %s\n", key.c_str(),
                  value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
    }
    print_findings(log);
    std::puts(passed ? "The data can be trained on." : "The data cannot be trained on.");
  }
  return passed ? kExitOk : kExitFailure;
}

int check_data(const CheckArgs& args) {
  CheckOptions options;
  if (auto parsed = parse_data_flags(args.flags, options.format, options.columns); !parsed) {
    return fail(parsed.error());
  }
  options.keep_findings = args.show;
  options.threads = std::max(1U, std::thread::hardware_concurrency());
  const auto structure = check_structure(args.data, options);
  if (!structure) {
    return fail(structure.error());
  }
  nlohmann::json facts = {{"file", args.data},
                          {"format", to_word(structure->format)},
                          {"bytes", structure->file_bytes},
                          {"rows", structure->rows},
                          {"good_rows", structure->good_rows},
                          {"samples", structure->samples}};
  if (args.model.empty() || !structure->passed()) {
    return report_data(args, structure->findings, std::move(facts));
  }
  const auto tokenizer = Tokenizer::load(args.model);
  if (!tokenizer) {
    return fail(tokenizer.error());
  }
  const auto chat_template = find_chat_template(
      args.model, args.template_file.empty() ? std::nullopt : std::optional(args.template_file));
  if (!chat_template) {
    return fail(chat_template.error());
  }
  TokenizeOptions tokenizing;
  tokenizing.format = options.format;
  tokenizing.columns = options.columns;
  tokenizing.sequence_length = 1U << 20;
  tokenizing.keep_findings = args.show;
  tokenizing.threads = options.threads;
  const auto tokens = tokenize_file(args.data, *tokenizer, chat_template->get(), tokenizing);
  if (!tokens) {
    return fail(tokens.error());
  }
  facts["tokens"] = tokens->counts.tokens;
  facts["trained_tokens"] = tokens->counts.trained_tokens;
  facts["longest_sample_tokens"] = tokens->counts.longest;
  facts["duplicates"] = tokens->counts.duplicates;
  return report_data(args, tokens->findings, std::move(facts));
}

nlohmann::json forecast_json(const JobForecast& forecast, double speed, double seconds) {
  return {{"samples", forecast.data.samples},
          {"rows", forecast.data.rows},
          {"tokens", forecast.data.tokens},
          {"trained_tokens", forecast.data.trained_tokens},
          {"fill", forecast.data.fill},
          {"steps", forecast.data.steps},
          {"run_tokens", forecast.data.run_tokens},
          {"base_parameters", forecast.base_parameters},
          {"trained_parameters", forecast.trained_parameters},
          {"weight_bytes", forecast.weight_bytes},
          {"state_bytes", forecast.state_bytes},
          {"activation_bytes", forecast.activation_bytes},
          {"loss_bytes", forecast.loss_bytes},
          {"memory_bytes", forecast.total_bytes()},
          {"flops", forecast.flops},
          {"matmul_flops_per_second", speed},
          {"time_s", seconds}};
}

void print_forecast(const JobForecast& forecast, double seconds) {
  const auto bytes = [](std::int64_t count) { return format_bytes(Bytes(count)); };
  const auto number = [](std::uint64_t n) { return format_count(static_cast<std::int64_t>(n)); };
  std::printf("samples          %s\n", number(forecast.data.samples).c_str());
  std::printf("rows             %s (%.0f %% full)\n", number(forecast.data.rows).c_str(),
              100.0 * forecast.data.fill);
  std::printf("tokens           %s, of them trained %s\n", number(forecast.data.tokens).c_str(),
              number(forecast.data.trained_tokens).c_str());
  std::printf("steps            %s\n", number(forecast.data.steps).c_str());
  std::printf("trained weights  %s of %s\n", format_count(forecast.trained_parameters).c_str(),
              format_count(forecast.base_parameters).c_str());
  std::printf("memory           about %s: weights %s, optimizer %s, activations %s, loss %s\n",
              bytes(forecast.total_bytes()).c_str(), bytes(forecast.weight_bytes).c_str(),
              bytes(forecast.state_bytes).c_str(), bytes(forecast.activation_bytes).c_str(),
              bytes(forecast.loss_bytes).c_str());
  std::printf("time             about %s on this machine\n", format_duration(seconds).c_str());
}

int check_spec(const CheckArgs& args) {
  const auto spec = load_attempt_spec(args.spec);
  if (!spec) {
    return fail(spec.error());
  }
  if (const auto runs = check_device(spec->job); !runs) {
    return fail(runs.error());
  }
  const InputsResult result = open_job_inputs(*spec);
  if (!result.inputs) {
    return fail(result.problem.error);
  }
  const auto forecast = forecast_job(spec->job, *result.inputs);
  if (!forecast) {
    return fail(forecast.error());
  }
  const double speed = measure_matmul_flops(spec->job.training.precision, spec->job.devices.kind);
  const double seconds = forecast->flops / (speed * kStepEfficiency);
  if (args.json) {
    nlohmann::json object = {{"passed", true},
                             {"warnings", result.inputs->warnings},
                             {"forecast", forecast_json(*forecast, speed, seconds)}};
    std::puts(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return kExitOk;
  }
  for (const std::string& warning : result.inputs->warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  print_forecast(*forecast, seconds);
  std::puts("The job can be run.");
  return kExitOk;
}

}  // namespace

void add_check_command(CLI::App& app, Command& selected) {
  auto args = std::make_shared<CheckArgs>();
  CLI::App* command = app.add_subcommand(
      "check", "Finds every fault of a job or data file, and forecasts its cost");
  command->footer(
      "Nothing large is loaded. Exit code 1 when something must be mended first.\n"
      "Examples:  ratchet-trainer check job.json\n"
      "           ratchet-trainer check --data chats.jsonl --model models/qwen2");
  command->add_option("SPEC", args->spec.path, "job spec");
  command->add_option("--data", args->data, "data file to check without a spec");
  command->add_option("--model", args->model, "with --data: model folder, for the token pass");
  command->add_option("--template", args->template_file, "with --data: chat template file");
  command->add_option("--show", args->show, "findings of each kind to show")->capture_default_str();
  command->add_flag("--json", args->json, "one object: passed, counts, findings, forecast");
  add_data_flags(*command, args->flags);
  command->callback([args, &selected] {
    selected = [args] {
      if (args->spec.path.empty() == args->data.empty()) {
        std::fprintf(stderr, "error: Name a SPEC or --data FILE, one of the two.\n");
        return kExitUsage;
      }
      return args->data.empty() ? check_spec(*args) : check_data(*args);
    };
  });
}

}  // namespace ratchet::trainer::cli

// The simulation. Replay a seed:  sim_test --seed N --trace
// Other shares of the seeds:      sim_test --first N --count N

#include <gtest/gtest.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <iostream>
#include <string_view>

#include "tests/sim/world.h"

namespace ratchet::sim {
namespace {

struct Arguments {
  std::uint64_t first = 0;
  std::uint64_t count = 400;
  bool one = false;
  bool trace = false;
  bool coverage = false;
} arguments;

void report_failure(std::uint64_t seed, const Violation& violation) {
  ADD_FAILURE() << "seed " << seed << " violates: " << violation.invariant << "\n  "
                << violation.fact << "\n  at " << violation.at.count()
                << " ms; replay: sim_test --seed " << seed << " --trace";
}

TEST(SimTest, EverySeedKeepsTheInvariants) {
  Coverage coverage;
  std::int64_t messages = 0;
  int failures = 0;
  const auto began = std::chrono::steady_clock::now();
  for (std::uint64_t seed = arguments.first; seed < arguments.first + arguments.count; ++seed) {
    const RunReport report = run_seed(Options{seed, arguments.trace, {}, {}});
    coverage.add(report.coverage);
    messages += report.messages;
    if (report.violation) {
      report_failure(seed, *report.violation);
      if (++failures >= 10) break;
      continue;
    }
    EXPECT_GE(report.agents, 3) << "seed " << seed;
    EXPECT_GE(report.jobs, 3) << "seed " << seed;
    EXPECT_GE(report.messages, 500) << "seed " << seed;
  }
  const auto took =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began);
  if (arguments.coverage || arguments.one || failures > 0) coverage.print(std::cout);
  std::cout << arguments.count << " seeds, " << messages << " messages, "
            << took.count() / static_cast<double>(arguments.count) << " ms a seed\n"
            << "covered: " << coverage.kinds_of("job") << " job, " << coverage.kinds_of("attempt")
            << " attempt, " << coverage.kinds_of("node") + coverage.kinds_of("machine") << " node, "
            << coverage.kinds_of("checkpoint") << " checkpoint, " << coverage.kinds_of("intent")
            << " intent transitions; " << coverage.kinds_of("cause") << " causes, "
            << coverage.kinds_of("fault") << " kinds of faults (" << coverage.total("fault")
            << " in all)\n";
}

TEST(SimTest, TheSameSeedIsTheSameRun) {
  if (arguments.one) return;
  const Options options{arguments.first + 3, false, {}, {}};
  const RunReport first = run_seed(options);
  const RunReport second = run_seed(options);
  EXPECT_EQ(first.messages, second.messages);
  EXPECT_EQ(first.coverage.total("event"), second.coverage.total("event"));
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

void parse(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const bool has_value = i + 1 < argc;
    if (word == "--seed" && has_value) {
      arguments.first = number(argv[++i]);
      arguments.count = 1;
      arguments.one = true;
    } else if (word == "--first" && has_value) {
      arguments.first = number(argv[++i]);
    } else if (word == "--count" && has_value) {
      arguments.count = number(argv[++i]);
    } else if (word == "--trace") {
      arguments.trace = true;
    } else if (word == "--coverage") {
      arguments.coverage = true;
    }
  }
}

}  // namespace
}  // namespace ratchet::sim

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ratchet::sim::parse(argc, argv);
  return RUN_ALL_TESTS();
}

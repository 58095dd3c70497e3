#include "controlplane/cli/table.h"

#include <gtest/gtest.h>

#include <sstream>

#include "controlplane/cli/format.h"

namespace ratchet::control::cli {
namespace {

TEST(Table, ColumnsAreAlignedAndLinesHaveNoTail) {
  Table table({{"ID"}, {"STEP", true}, {"STATE"}});
  table.add({"a", "7", "queued"});
  table.add({"long-id", "1234", "training"});
  EXPECT_EQ(table.render(0),
            "ID       STEP  STATE\n"
            "a           7  queued\n"
            "long-id  1234  training\n");
}

TEST(Table, ANarrowTerminalCutsTextAndNeverNumbers) {
  Table table({{"NAME"}, {"COST", true}});
  table.add({"a very long name of a job that goes on", "$1234567.89"});
  std::istringstream lines(table.render(30));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(columns_of(line), 30U) << line;
  EXPECT_NE(table.render(30).find("$1234567.89"), std::string::npos);
  EXPECT_NE(table.render(30).find("..."), std::string::npos);
}

TEST(Table, MissingCellsAndControlCharactersAreHarmless) {
  Table table({{"A"}, {"B"}, {"C"}});
  table.add({"x\ny"});
  table.add({"\x1b[2J", "b", "c", "one too many"});
  EXPECT_EQ(table.render(0), "A     B  C\nx y\n?[2J  b  c\n");
}

TEST(Facts, EmptyOnesAreLeftOut) {
  EXPECT_EQ(render_facts({{"job", "j1"}, {"result", ""}, {"state", "queued"}}),
            "job    j1\nstate  queued\n");
}

}  // namespace
}  // namespace ratchet::control::cli

#include "trainer/data/row_reader.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/data/data_testing.h"
#include "trainer/data/layout_guess.h"

namespace ratchet::trainer {
namespace {

struct ReadRow {
  std::string text;
  std::uint64_t line = 0;
  std::uint64_t offset = 0;
  bool oversized = false;
};

struct ReadFile {
  std::vector<ReadRow> rows;
  std::vector<LayoutFault> faults;
  DataLayout layout = DataLayout::kJsonLines;
};

ReadFile read_rows(const std::filesystem::path& path) {
  ReadFile file;
  auto reader = RowReader::open(path);
  EXPECT_TRUE(reader);
  if (!reader) return file;
  file.layout = reader->layout().layout;
  RowBlock block;
  for (;;) {
    const auto more = reader->next(block);
    EXPECT_TRUE(more);
    if (!more || !*more) break;
    EXPECT_EQ(block.first_row, file.rows.size());
    EXPECT_LE(block.bytes.size(), kRowBytesMax + kBlockBytes);
    for (const RawRow& raw : block.rows) {
      file.rows.push_back({std::string(block.text(raw)), raw.line, raw.file_offset, raw.oversized});
    }
  }
  file.faults = reader->faults();
  return file;
}

ReadFile read_text(std::string_view text, const std::string& name = "data.jsonl") {
  const ratchet::testing::TempFolder folder;
  return read_rows(write_into(folder, name, text));
}

TEST(RowReader, SkipsMarkAndBlankLinesAndKeepsLineNumbers) {
  const ReadFile file = read_text("\xef\xbb\xbf\n{\"a\":1}\r\n \t\r\n\n{\"b\":2}\n  {\"c\":3}");
  ASSERT_EQ(file.rows.size(), 3);
  EXPECT_EQ(file.rows[0].text, "{\"a\":1}");
  EXPECT_EQ(file.rows[0].line, 2);
  EXPECT_EQ(file.rows[0].offset, 4);
  EXPECT_EQ(file.rows[1].text, "{\"b\":2}");
  EXPECT_EQ(file.rows[1].line, 5);
  EXPECT_EQ(file.rows[2].text, "  {\"c\":3}");
  EXPECT_EQ(file.rows[2].line, 6);
}

TEST(RowReader, ReadsEmptyFiles) {
  EXPECT_TRUE(read_text("").rows.empty());
  EXPECT_TRUE(read_text("\n\n  \n").rows.empty());
  EXPECT_TRUE(read_text("\xef\xbb\xbf").rows.empty());
}

TEST(RowReader, RefusesWhatIsNoFile) {
  EXPECT_EQ(RowReader::open("/nonexistent/data.jsonl").error().code, Code::kNotFound);
  const ratchet::testing::TempFolder folder;
  EXPECT_FALSE(RowReader::open(folder.path()));
}

// Rows of every size around the block size come back whole, in order, with their lines.
TEST(RowReader, RowsSpanBlocks) {
  std::mt19937_64 random(5);
  std::string text;
  std::vector<ReadRow> expected;
  std::uint64_t line = 1;
  for (int i = 0; i < 60; ++i) {
    if (random() % 4 == 0) {
      text += random() % 2 == 0 ? "\n" : "  \r\n";
      ++line;
    }
    const std::size_t size = i % 7 == 0 ? kBlockBytes - 3 + random() % 6 : random() % 200'000;
    std::string row = "\"" + std::string(size, static_cast<char>('a' + i % 26)) + "\"";
    expected.push_back({row, line++, text.size(), false});
    text += row + "\n";
  }
  const ReadFile file = read_text(text);
  ASSERT_EQ(file.rows.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(file.rows[i].text, expected[i].text) << i;
    EXPECT_EQ(file.rows[i].line, expected[i].line) << i;
    EXPECT_EQ(file.rows[i].offset, expected[i].offset) << i;
  }
}

TEST(RowReader, DoesNotKeepOversizedRows) {
  const std::string longest(kRowBytesMax, 'x');
  const ReadFile file =
      read_text("{\"a\":1}\n" + longest + "\n" + longest + "y\n{\"b\":2}\n" + longest + "zz");
  ASSERT_EQ(file.rows.size(), 5);
  EXPECT_EQ(file.rows[1].text.size(), kRowBytesMax);
  EXPECT_FALSE(file.rows[1].oversized);
  EXPECT_TRUE(file.rows[2].oversized);
  EXPECT_TRUE(file.rows[2].text.empty());
  EXPECT_EQ(file.rows[3].text, "{\"b\":2}");
  EXPECT_EQ(file.rows[3].line, 4);
  EXPECT_TRUE(file.rows[4].oversized);
}

TEST(RowReader, CutsAConversationDocumentIntoRows) {
  const std::string text = R"({
  "version": "1", "note": "a ] in \" text",
  "conversations": [
    {"conversation_id": "a", "x": "}],[{\"", "training_pairs": []},
    {"conversation_id": "b"}  ,
    7
  ],
  "more": {"conversations": [1, 2]}
}
)";
  const ReadFile file = read_text(text, "data.json");
  EXPECT_EQ(file.layout, DataLayout::kConversationDocument);
  EXPECT_TRUE(file.faults.empty());
  ASSERT_EQ(file.rows.size(), 3);
  EXPECT_EQ(file.rows[0].text, R"({"conversation_id": "a", "x": "}],[{\"", "training_pairs": []})");
  EXPECT_EQ(file.rows[0].line, 4);
  EXPECT_EQ(text.substr(file.rows[1].offset, file.rows[1].text.size()), file.rows[1].text);
  EXPECT_EQ(file.rows[1].line, 5);
  EXPECT_EQ(file.rows[2].text, "7");
}

TEST(RowReader, CutsAnArrayIntoRows) {
  const ReadFile file = read_text("[\n {\"text\": \"a\"},\n {\"text\": \"b\"}\n]\n", "data.json");
  EXPECT_EQ(file.layout, DataLayout::kJsonArray);
  ASSERT_EQ(file.rows.size(), 2);
  EXPECT_EQ(file.rows[1].text, "{\"text\": \"b\"}");
  EXPECT_EQ(file.rows[1].line, 3);
  EXPECT_TRUE(file.faults.empty());
}

TEST(RowReader, FindsFaultsAroundRows) {
  const auto faults = [](std::string_view text) { return read_text(text).faults.size(); };
  EXPECT_EQ(faults("[\n{\"a\":1},\n{\"a\":2}\n]"), 0);
  EXPECT_EQ(faults("[\n{\"a\":1}\n{\"a\":2}\n]"), 1);    // no comma
  EXPECT_EQ(faults("[\n{\"a\":1},,\n{\"a\":2}\n]"), 1);  // two commas
  EXPECT_EQ(faults("[\n{\"a\":1},\n]"), 1);              // comma at the end
  EXPECT_EQ(faults("[\n{\"a\":1},\n{\"a\""), 1);         // cut in a row
  EXPECT_EQ(faults("[\n{\"a\":1},\n"), 1);               // cut between rows
  EXPECT_EQ(faults("[\n{\"a\":1}\n]\n[]"), 1);           // more behind it
  EXPECT_EQ(faults("[\n{\"a\":1}\n}"), 2);               // wrong bracket: no comma, never closed
}

// A document read in blocks gives the same rows as its parts, whatever lies at a block's edge.
TEST(RowReader, DocumentRowsSpanBlocks) {
  std::mt19937_64 random(9);
  std::string text = "{\"conversations\": [";
  std::vector<std::string> expected;
  for (int i = 0; i < 40; ++i) {
    std::string row = "{\"conversation_id\": \"" + std::to_string(i) + "\", \"t\": \"" +
                      std::string(random() % 300'000, 'x') + "\\\"]}\"}";
    if (i > 0) text += i % 3 == 0 ? ",\n" : ", ";
    text += row;
    expected.push_back(std::move(row));
  }
  const ReadFile file = read_text(text + "]}", "data.json");
  EXPECT_TRUE(file.faults.empty());
  ASSERT_EQ(file.rows.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(file.rows[i].text, expected[i]) << i;
}

TEST(RowReader, DoesNotKeepOversizedElements) {
  const std::string huge = "{\"conversation_id\": \"" + std::string(kRowBytesMax, 'x') + "\"}";
  const ReadFile file = read_text("{\"conversations\": [{\"conversation_id\": \"a\"}, " + huge +
                                  ", {\"conversation_id\": \"b\"}]}");
  ASSERT_EQ(file.rows.size(), 3);
  EXPECT_TRUE(file.rows[1].oversized);
  EXPECT_TRUE(file.rows[1].text.empty());
  EXPECT_EQ(file.rows[2].text, "{\"conversation_id\": \"b\"}");
  EXPECT_TRUE(file.faults.empty());
}

TEST(LayoutGuess, TellsLinesFromDocuments) {
  const auto layout = [](std::string_view head) { return guess_layout(head).layout; };
  EXPECT_EQ(layout("{\"messages\": []}\n"), DataLayout::kJsonLines);
  EXPECT_EQ(layout("{\"conversations\": [{\"from\": \"human\"}]}\n"), DataLayout::kJsonLines);
  EXPECT_EQ(layout("{\"conversations\": [{\"conversation_id\": \"a\"}]}"),
            DataLayout::kConversationDocument);
  EXPECT_EQ(layout("{\"v\": 1, \"conversations\": [{\"topic\": \"t\", \"training_pairs\": [{"),
            DataLayout::kConversationDocument);
  EXPECT_EQ(layout("{\"conversation_id\": \"a\", \"training_pairs\": []}\n"),
            DataLayout::kJsonLines);
  EXPECT_EQ(layout("[{\"text\": 1},\n"), DataLayout::kJsonArray);
  EXPECT_EQ(layout("[{\"messages\": []}]"), DataLayout::kJsonArray);
  EXPECT_EQ(layout("[{\"from\": \"human\"}]\n"), DataLayout::kJsonLines);
  EXPECT_EQ(layout("[{}]\n[{}]\n"), DataLayout::kJsonLines);
  EXPECT_TRUE(guess_layout(std::string_view("\xff\xfe{\0", 4)).utf16);
  EXPECT_TRUE(guess_layout(std::string_view("{\0\"\0", 4)).utf16);
  EXPECT_FALSE(guess_layout("{\"a\"").utf16);
}

}  // namespace
}  // namespace ratchet::trainer

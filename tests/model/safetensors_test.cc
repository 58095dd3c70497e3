#include "trainer/model/safetensors.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/model/fixtures.h"
#include "tests/support/shared_inputs.h"

namespace ratchet::trainer {
namespace {

using ratchet::testing::expect_error;
using ratchet::testing::is_ok;
using ratchet::testing::read_bytes;
using ratchet::testing::safetensors_bytes;

Result<SafetensorsHeader> parse(std::string_view bytes) {
  return parse_safetensors_header(std::as_bytes(std::span(bytes.data(), bytes.size())),
                                  bytes.size());
}

Result<SafetensorsHeader> parse(std::string_view header, std::size_t data_bytes) {
  return parse(safetensors_bytes(header, std::string(data_bytes, '\0')));
}

TEST(Safetensors, ReadsNamesShapesAndPlaces) {
  const auto header = parse(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}}  )",
      16);
  ASSERT_TRUE(is_ok(header));
  ASSERT_EQ(header->tensors.size(), 2U);
  EXPECT_EQ(header->tensors[0].name, "a");
  EXPECT_TRUE(header->tensors[0].shape.empty());
  EXPECT_EQ(header->tensors[0].element_count(), 1);
  const StoredTensor* b = header->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, DType::kBF16);
  EXPECT_EQ(b->shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(b->begin, 4U);
  EXPECT_EQ(b->end, 16U);
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_EQ(header->find("c"), nullptr);
}

TEST(Safetensors, EmptyFilesScalarsAndZeroSizesAreLegal) {
  EXPECT_TRUE(is_ok(parse("{}", 0)));
  EXPECT_TRUE(is_ok(parse(R"({"__metadata__":{}})", 0)));
  const auto header = parse(R"({"z":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},)"
                            R"("a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                            R"("y":{"dtype":"F64","shape":[2,0],"data_offsets":[3,3]}})",
                            3);
  ASSERT_TRUE(is_ok(header));
  EXPECT_EQ(header->find("z")->element_count(), 0);
}

// One broken file a rule. The message starts with the rule's name.
struct BrokenCase {
  const char* name;
  const char* rule;
  std::string bytes;
};

std::string length_field(std::uint64_t length) {
  std::string bytes;
  for (unsigned shift = 0; shift < 64; shift += 8) {
    bytes.push_back(static_cast<char>((length >> shift) & 0xff));
  }
  return bytes;
}

std::string with_data(std::string_view header, std::size_t data_bytes) {
  return safetensors_bytes(header, std::string(data_bytes, '\0'));
}

// NOLINTNEXTLINE(readability-function-size): a table, one line a case.
std::vector<BrokenCase> broken_files() {
  const std::string one = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  return {
      {"EmptyFile", "HeaderTooSmall", ""},
      {"SevenBytes", "HeaderTooSmall", std::string(7, '\0')},
      {"HeaderOfMoreThanHundredMillion", "HeaderTooLarge", length_field(100'000'001) + "{}"},
      {"LengthOfAllOnes", "HeaderTooLarge", length_field(~std::uint64_t{0}) + "{}"},
      {"HeaderLongerThanTheFile", "InvalidHeaderLength", length_field(3) + "{}"},
      {"NoHeader", "InvalidHeaderStart", length_field(0)},
      {"StartsWithABlank", "InvalidHeaderStart", with_data(" {}", 0)},
      {"StartsWithAList", "InvalidHeaderStart", with_data("[]", 0)},
      {"StartsWithAByteOrderMark", "InvalidHeaderStart", with_data("\xef\xbb\xbf{}", 0)},
      {"NotUtf8", "InvalidHeaderDeserialization",
       with_data("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4)},
      {"NulAfterTheHeader", "InvalidHeader:", with_data(std::string_view("{}\0{", 4), 0)},
      {"CutJson", "InvalidHeaderDeserialization", with_data(one.substr(0, 30), 4)},
      {"TwoObjects", "InvalidHeaderDeserialization", with_data("{}{}", 0)},
      {"TensorTwice", "InvalidHeaderDeserialization: the tensor 'a' stands twice",
       with_data(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                 2)},
      {"KeyTwice", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1)},
      {"ShapeTwice", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1)},
      {"MetadataTwice", "InvalidHeaderDeserialization",
       with_data(R"({"__metadata__":{},"__metadata__":{}})", 0)},
      {"MetadataKeyTwice", "InvalidHeaderDeserialization",
       with_data(R"({"__metadata__":{"a":"1","a":"1"}})", 0)},
      {"MetadataNumber", "InvalidHeaderDeserialization",
       with_data(R"({"__metadata__":{"a":1}})", 0)},
      {"MetadataObject", "InvalidHeaderDeserialization",
       with_data(R"({"__metadata__":{"a":{}}})", 0)},
      {"MetadataList", "InvalidHeaderDeserialization", with_data(R"({"__metadata__":[]})", 0)},
      {"EntryIsANumber", "InvalidHeaderDeserialization", with_data(R"({"a":3})", 0)},
      {"EntryIsNull", "InvalidHeaderDeserialization", with_data(R"({"a":null})", 0)},
      {"EntryWithoutKeys", "InvalidHeaderDeserialization", with_data(R"({"a":{}})", 0)},
      {"NoShape", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1)},
      {"UnknownKey", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]}})", 1)},
      {"UnknownDtype", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4)},
      {"DtypeIsAList", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}})", 4)},
      {"NegativeDimension", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4)},
      {"FractionalDimension", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4)},
      {"NestedShape", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4)},
      {"DimensionBeyond64Bits", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,4]}})", 4)},
      {"OneOffset", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}})", 4)},
      {"ThreeOffsets", "InvalidHeaderDeserialization",
       with_data(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4)},
      {"SizeOverflow", "ValidationOverflow",
       with_data(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
                 0)},
      {"SizeOverflowBeforeAZero", "ValidationOverflow",
       with_data(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})",
                 0)},
      {"SizeOverflowByTheDtype", "ValidationOverflow",
       with_data(R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0)},
      {"EndBeforeBegin", "InvalidOffset",
       with_data(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4)},
      {"ShapeAgainstRange", "TensorInvalidInfo",
       with_data(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4)},
      {"HoleAtTheStart", "InvalidOffset",
       with_data(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8)},
      {"HoleInTheMiddle", "InvalidOffset",
       with_data(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                 3)},
      {"Overlap", "InvalidOffset",
       with_data(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                 R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                 3)},
      {"SameRangeTwice", "InvalidOffset",
       with_data(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                 R"("b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                 2)},
      {"FileCutShort", "MetadataIncompleteBuffer: the tensors take 4 bytes, the file has 3",
       with_data(one, 3)},
      {"TrailingBytes", "MetadataIncompleteBuffer", with_data(one, 5)},
      {"TrailingBytesWithoutTensors", "MetadataIncompleteBuffer", with_data("{}", 1)},
  };
}

class SafetensorsRules : public ::testing::TestWithParam<BrokenCase> {};

TEST_P(SafetensorsRules, BrokenFileIsRefusedByItsRule) {
  const auto header = parse(GetParam().bytes);
  expect_error(header, Code::kCorrupt, GetParam().rule);
  if (!header) {
    EXPECT_EQ(header.error().message.find(GetParam().rule), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(All, SafetensorsRules, ::testing::ValuesIn(broken_files()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Safetensors, DeepNestingIsRefusedAtOnce) {
  std::string header = R"({"a":)" + std::string(1'000'000, '[');
  expect_error(parse(header, 0), Code::kCorrupt, "InvalidHeaderDeserialization");
  header = R"({"a":{"shape":)" + std::string(1'000'000, '[');
  expect_error(parse(header, 0), Code::kCorrupt, "InvalidHeaderDeserialization");
}

TEST(Safetensors, LongNamesAreCutInMessages) {
  const std::string name(5000, 'n');
  const auto header = parse("{\"" + name + "\":3}", 0);
  ASSERT_FALSE(header.has_value());
  EXPECT_LT(header.error().message.size(), 400U);
}

// Every single-bit change of a header is either refused or still tiles its file exactly.
TEST(Safetensors, FlippedHeaderBitsNeverGiveARangeOutsideTheFile) {
  const std::string good = with_data(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}})",
      24);
  ASSERT_TRUE(is_ok(parse(good)));
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * (good.size() - 24); ++bit) {
    std::string flipped = good;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const auto header = parse(flipped);
    refused += header ? 0 : 1;
    if (!header) continue;
    std::uint64_t at = header->data_start;
    for (const StoredTensor& tensor : header->tensors) at += tensor.bytes();
    EXPECT_EQ(at, flipped.size());
  }
  EXPECT_GT(refused, 500U);
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string good =
      with_data(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})", 16);
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(parse(good.substr(0, size)).has_value()) << size;
  }
}

TEST(SafetensorsLayout, FollowsTheReferenceWritersOrderAndPadding) {
  const auto layout = layout_safetensors({{"b", DType::kF32, {2}},
                                          {"a", DType::kF32, {1}},
                                          {"z", DType::kI64, {1}},
                                          {"h", DType::kBF16, {3}}});
  ASSERT_TRUE(is_ok(layout));
  std::vector<std::string> names;
  names.reserve(layout->header.tensors.size());
  for (const StoredTensor& tensor : layout->header.tensors) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"z", "a", "b", "h"}));
  EXPECT_EQ(layout->prefix.size() % 8, 0U);
  EXPECT_EQ(layout->prefix.size(), layout->header.data_start);
  EXPECT_EQ(layout->header.file_bytes, layout->header.data_start + 26);
  EXPECT_EQ(layout->prefix.substr(8, 64),
            R"({"__metadata__":{"format":"pt"},"z":{"dtype":"I64","shape":[1],")");
}

TEST(SafetensorsLayout, AlignsTheDataAndParsesAgain) {
  SafetensorsLayoutOptions options;
  options.data_alignment = 4096;
  options.order = TensorOrder::kAsGiven;
  options.metadata = {{"key \"quoted\"", "line\nend"}, {"umlaut", "\xc3\xbc"}};
  const auto layout = layout_safetensors(
      {{"second \"name\"", DType::kU8, {5}}, {"first", DType::kF64, {}}, {"n", DType::kF32, {0}}},
      options);
  ASSERT_TRUE(is_ok(layout));
  EXPECT_EQ(layout->header.data_start, 4096U);
  const auto again = parse(layout->prefix + std::string(13, 'x'));
  ASSERT_TRUE(is_ok(again));
  EXPECT_EQ(again->metadata, options.metadata);
  ASSERT_EQ(again->tensors.size(), 3U);
  EXPECT_EQ(again->tensors[0].name, "second \"name\"");
  EXPECT_EQ(again->find("first")->begin, 5U);
}

TEST(SafetensorsLayout, RefusesWhatCannotBeStored) {
  expect_error(layout_safetensors({{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}),
               Code::kInvalidArgument, "given twice");
  expect_error(layout_safetensors({{"", DType::kU8, {1}}}), Code::kInvalidArgument, "named ''");
  expect_error(layout_safetensors({{"__metadata__", DType::kU8, {1}}}), Code::kInvalidArgument,
               "__metadata__");
  expect_error(layout_safetensors({{"a", DType::kU8, {-1}}}), Code::kInvalidArgument, "[-1]");
  expect_error(layout_safetensors({{"a", DType::kF64, {1LL << 62}}}), Code::kInvalidArgument, "a");
  expect_error(layout_safetensors({{"\xff", DType::kU8, {1}}}), Code::kInvalidArgument, "UTF-8");
}

TEST(SafetensorsLayout, RandomTensorsRoundTripThroughTheParser) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 50; ++round) {
    std::vector<TensorSpec> specs;
    const auto count = random() % 20;
    for (std::uint64_t i = 0; i < count; ++i) {
      TensorSpec spec{"t" + std::to_string(i), static_cast<DType>(random() % 15), {}};
      for (std::uint64_t d = random() % 4; d > 0; --d) {
        spec.shape.push_back(static_cast<std::int64_t>(random() % 6));
      }
      specs.push_back(spec);
    }
    const auto layout = layout_safetensors(specs);
    ASSERT_TRUE(is_ok(layout));
    const auto data = layout->header.file_bytes - layout->header.data_start;
    const auto again = parse(layout->prefix + std::string(data, '\0'));
    ASSERT_TRUE(is_ok(again));
    for (const TensorSpec& spec : specs) {
      const StoredTensor* stored = again->find(spec.name);
      ASSERT_NE(stored, nullptr);
      EXPECT_EQ(stored->dtype, spec.dtype);
      EXPECT_EQ(stored->shape, spec.shape);
      EXPECT_EQ(stored->bytes(), layout->header.find(spec.name)->bytes());
    }
  }
}

TEST(Safetensors, SharedSmallFilesAllParse) {
  RATCHET_NEEDS_SHARED_INPUTS();
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ratchet::testing::shared_inputs() /
                                                               "models" / "safetensors-small")) {
    if (entry.path().extension() != ".safetensors") continue;
    EXPECT_TRUE(is_ok(parse(read_bytes(entry.path())))) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 8U);
}

}  // namespace
}  // namespace ratchet::trainer

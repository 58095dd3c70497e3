#include "trainer/data/json_tree.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace ratchet::trainer {
namespace {

std::string rewritten(std::string_view text) {
  JsonTree tree;
  EXPECT_TRUE(tree.parse(text)) << text << ": " << tree.fault().message;
  std::string out;
  tree.write(tree.root(), out);
  return out;
}

JsonFault fault_of(std::string_view text) {
  JsonTree tree;
  EXPECT_FALSE(tree.parse(text)) << text;
  EXPECT_FALSE(tree.fault().message.empty()) << text;
  return tree.fault();
}

TEST(JsonTree, WritesWhatItRead) {
  for (const std::string_view text :
       {R"({})", R"([])", R"("x")", R"(null)", R"([true,false,null,0,-1,1.5,1e3])",
        R"({"a":{"b":[1,{"c":"d"}]},"e":"f"})", R"({"q":"\" \\ \n \u0000"})",
        R"([18446744073709551615,-9223372036854775808,123456789012345678901234567890])"}) {
    EXPECT_EQ(rewritten(text), text);
  }
  EXPECT_EQ(rewritten(R"( { "a" : "\u00e9\ud83d\ude42\u2028" } )"),
            "{\"a\":\"\xc3\xa9\xf0\x9f\x99\x82\xe2\x80\xa8\"}");
}

TEST(JsonTree, FindsMembersInOrder) {
  JsonTree tree;
  ASSERT_TRUE(tree.parse(R"({"b":1,"a":[10,20],"c":null})"));
  EXPECT_EQ(tree.root().children, 3);
  EXPECT_EQ(tree.key(*tree.first(tree.root())), "b");
  const JsonNode* list = tree.find(tree.root(), "a");
  ASSERT_NE(list, nullptr);
  EXPECT_EQ(tree.text(*tree.next(*tree.first(*list))), "20");
  EXPECT_EQ(tree.find(tree.root(), "d"), nullptr);
  EXPECT_EQ(tree.find(*list, "a"), nullptr);
}

TEST(JsonTree, NamesEachKindOfFault) {
  EXPECT_EQ(fault_of("{\"a\":1").rule, Rule::kUnclosedJson);
  EXPECT_EQ(fault_of("{\"a\":\"x").rule, Rule::kUnclosedJson);
  EXPECT_EQ(fault_of("").rule, Rule::kUnclosedJson);
  EXPECT_EQ(fault_of("{} {}").rule, Rule::kTrailingContent);
  EXPECT_EQ(fault_of("{\"a\":1,}").rule, Rule::kMalformedJson);
  EXPECT_EQ(fault_of("{a:1}").rule, Rule::kMalformedJson);
  EXPECT_EQ(fault_of("{\"a\":None}").rule, Rule::kMalformedJson);
  EXPECT_EQ(fault_of("{\"a\":01}").rule, Rule::kMalformedJson);
  EXPECT_EQ(fault_of("{\"a\":NaN}").rule, Rule::kNonStandardNumber);
  EXPECT_EQ(fault_of("{\"a\":-Infinity}").rule, Rule::kNonStandardNumber);
  EXPECT_EQ(fault_of("{\"a\":1e999}").rule, Rule::kNumberRange);
  EXPECT_EQ(fault_of("{\"a\":\"\\ud83d\"}").rule, Rule::kLoneSurrogate);
  EXPECT_EQ(fault_of("{\"a\":\"\\ude42x\"}").rule, Rule::kLoneSurrogate);
  EXPECT_EQ(fault_of("{\"a\":\"\x01\"}").rule, Rule::kControlCharacter);
  EXPECT_EQ(fault_of("{\"a\":\"\t\"}").rule, Rule::kControlCharacter);
  EXPECT_EQ(fault_of("{\"a\":\"\xff\"}").rule, Rule::kInvalidUtf8);
  EXPECT_EQ(fault_of("{\"a\":1,\"a\":2}").rule, Rule::kDuplicateKey);
  EXPECT_EQ(fault_of("\xef\xbb\xbf{}").rule, Rule::kUnexpectedBom);
  EXPECT_EQ(fault_of(std::string_view("{}\0{}", 5)).rule, Rule::kNulByte);
}

TEST(JsonTree, SaysWhere) {
  EXPECT_EQ(fault_of("{\"ab\": x}").offset, 7);
  EXPECT_EQ(fault_of("{\"a\":\"1234\xe9\"}").offset, 10);
  EXPECT_NE(fault_of("{'a': 1}").message.find("Python"), std::string::npos);
  EXPECT_NE(fault_of("[1, ]").message.find("comma"), std::string::npos);
}

TEST(JsonTree, BoundsDepth) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(rewritten(nested(kJsonDepthMax)), nested(kJsonDepthMax));
  const JsonFault fault = fault_of(nested(kJsonDepthMax + 1));
  EXPECT_EQ(fault.rule, Rule::kTooDeep);
  EXPECT_EQ(fault.offset, kJsonDepthMax);
  EXPECT_EQ(fault_of(std::string(100'000, '[')).rule, Rule::kTooDeep);
  EXPECT_EQ(fault_of("{\"a\":\"[[[[\",\"b\":" + std::string(kJsonDepthMax, '[')).rule,
            Rule::kTooDeep);
}

TEST(JsonTree, FindsDuplicateKeysInLargeObjects) {
  std::string text = "{";
  for (int i = 0; i < 1000; ++i) text += "\"key" + std::to_string(i) + "\":1,";
  EXPECT_EQ(rewritten(text + "\"last\":1}").size(), text.size() + 9);
  EXPECT_NE(fault_of(text + "\"key500\":1}").message.find("'key500'"), std::string::npos);
}

TEST(JsonTree, ForgetsTheRowBefore) {
  JsonTree tree;
  ASSERT_TRUE(tree.parse(R"({"a":[1,2,3],"b":"text"})"));
  ASSERT_FALSE(tree.parse("{"));
  ASSERT_TRUE(tree.parse(R"({"c":1})"));
  EXPECT_EQ(tree.find(tree.root(), "a"), nullptr);
  EXPECT_EQ(tree.root().children, 1);
}

}  // namespace
}  // namespace ratchet::trainer

#include "trainer/data/formats.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/data/data_testing.h"

namespace ratchet::trainer {
namespace {

using Codes = std::map<std::string, std::uint64_t>;
using Json = nlohmann::ordered_json;

struct Decoded {
  std::vector<Row> rows;
  Codes codes;
  bool good = false;
  FindingLog log;
};

Decoded decode(DataFormat format, const std::string& text, const DataColumns& columns = {}) {
  Decoded decoded;
  JsonTree tree;
  EXPECT_TRUE(tree.parse(text)) << tree.fault().message;
  const RowDecoder decoder(format, columns);
  const auto outcome = decoder.decode(tree, {4, 9}, decoded.log, &decoded.rows);
  decoded.good = outcome.good;
  decoded.codes = codes_of(decoded.log);
  EXPECT_EQ(outcome.samples, decoded.rows.size());
  FindingLog again;
  EXPECT_EQ(decoder.decode(tree, {4, 9}, again, nullptr).good, decoded.good)
      << "the check alone must judge as the decoding does";
  EXPECT_EQ(codes_of(again), decoded.codes);
  return decoded;
}

Json messages_of(const Decoded& decoded) {
  return decoded.rows.size() == 1 ? Json::parse(decoded.rows[0].messages_json) : Json();
}

TEST(ChatFormat, MessagesPassAsTheyAre) {
  const std::string list =
      R"([{"role":"system","content":"s"},{"content":"q","role":"user","name":"eve"},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",)"
      R"("function":{"name":"f","arguments":{"x":1}}}]},)"
      R"({"role":"tool","tool_call_id":"c1","content":"4"},)"
      R"({"role":"assistant","content":"a","reasoning_content":"r"}])";
  const Decoded decoded = decode(
      DataFormat::kChat, R"({"id":"r1","messages":)" + list + R"(,"tools":[{"type":"function"}]})");
  ASSERT_TRUE(decoded.good);
  EXPECT_TRUE(decoded.codes.empty());
  const Row& row = decoded.rows[0];
  EXPECT_EQ(row.messages_json, list);
  EXPECT_EQ(row.tools_json, R"([{"type":"function"}])");
  EXPECT_EQ(row.id, "r1");
  EXPECT_EQ(row.place.row, 4);
  EXPECT_EQ(row.place.line, 9);
  EXPECT_FALSE(row.has_parts);
  EXPECT_FALSE(row.has_string_arguments);
}

TEST(ChatFormat, OldSpellingsAreRewritten) {
  const Decoded decoded = decode(
      DataFormat::kChat,
      R"({"messages":[{"role":"developer","content":"s","name":null},{"role":"user","content":"q"},)"
      R"({"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},)"
      R"({"role":"function","name":"f","content":"4"},)"
      R"({"role":"assistant","content":"a","weight":0,"tool_calls":null},)"
      R"({"role":"user","content":"q"},{"role":"assistant","content":"b","weight":1}],)"
      R"("functions":[{"name":"f"}]})");
  ASSERT_TRUE(decoded.good);
  EXPECT_TRUE(decoded.rows[0].has_string_arguments);
  EXPECT_EQ(
      decoded.rows[0].messages_json,
      R"([{"role":"system","content":"s"},{"role":"user","content":"q"},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"type":"function",)"
      R"("function":{"name":"f","arguments":"{}"}}]},)"
      R"({"role":"tool","name":"f","content":"4"},{"role":"assistant","content":"a","weight":0},)"
      R"({"role":"user","content":"q"},{"role":"assistant","content":"b"}])");
  EXPECT_EQ(decoded.rows[0].tools_json, R"([{"type":"function","function":{"name":"f"}}])");
}

TEST(ChatFormat, ContentParts) {
  const auto with = [](const std::string& content) {
    return decode(DataFormat::kChat, R"({"messages":[{"role":"user","content":)" + content +
                                         R"(},{"role":"assistant","content":"b"}]})");
  };
  const Decoded parts = with(R"([{"type":"text","text":"a"},{"type":"text","text":"b"}])");
  EXPECT_TRUE(parts.good);
  EXPECT_TRUE(parts.rows[0].has_parts);
  EXPECT_EQ(with(R"([])").codes, (Codes{{"empty_array", 1}}));
  EXPECT_EQ(with(R"([{"type":"input_audio"}])").codes, (Codes{{"unsupported_part", 1}}));
  EXPECT_EQ(with(R"([{"type":"text"}])").codes, (Codes{{"wrong_type", 1}}));
  EXPECT_EQ(with(R"([{"text":"a"}])").codes, (Codes{{"wrong_type", 1}}));
  EXPECT_EQ(with(R"("")").codes, (Codes{{"empty_content", 1}}));
  EXPECT_EQ(with(R"({"a":1})").codes, (Codes{{"wrong_type", 1}}));
}

TEST(ChatFormat, FaultsOfMessages) {
  const auto codes = [](const std::string& messages) {
    return decode(DataFormat::kChat, "{\"messages\":[" + messages + "]}").codes;
  };
  const std::string user = R"({"role":"user","content":"q"})";
  const std::string reply = R"({"role":"assistant","content":"a"})";
  EXPECT_EQ(codes(user + R"(,{"role":"hummany","content":"x"},)" + reply),
            (Codes{{"unknown_role", 1}}));
  EXPECT_EQ(codes(user + R"(,{"role":3,"content":"x"},)" + reply), (Codes{{"wrong_type", 1}}));
  EXPECT_EQ(codes(user + R"(,"text",)" + reply), (Codes{{"wrong_type", 1}}));
  EXPECT_EQ(codes(user + "," + user + "," + reply), (Codes{{"consecutive_users", 1}}));
  EXPECT_EQ(codes(user + "," + reply + "," + user + "," + user),
            (Codes{{"consecutive_users", 1}, {"ends_without_reply", 1}}));
  EXPECT_EQ(codes(reply + "," + user + "," + reply), (Codes{{"assistant_first", 1}}));
  EXPECT_EQ(codes(user + R"(,{"role":"system","content":"s"},)" + reply),
            (Codes{{"system_not_first", 1}}));
  EXPECT_EQ(codes(user + R"(,{"role":"assistant","content":""})"),
            (Codes{{"empty_content", 1}, {"no_text_to_train", 1}}));
  EXPECT_EQ(codes(user + R"(,{"role":"assistant","content":"a","weight":true})"),
            (Codes{{"bad_weight", 1}}));
  EXPECT_EQ(codes(user + R"(,{"role":"assistant","content":"a","tool_calls":[]})"),
            (Codes{{"empty_array", 1}}));
  EXPECT_EQ(
      codes(user + R"(,{"role":"assistant","content":"a","tool_calls":[{"id":1,"function":{}}]})"),
      (Codes{{"bad_tool_call", 1}}));
  EXPECT_EQ(codes(R"({"role":"user","content":"q","tool_calls":[{}]},)" + reply),
            (Codes{{"bad_tool_call", 1}}));
}

TEST(ChatFormat, WholeListsComeOutWhateverIsWrong) {
  JsonTree tree;
  ASSERT_TRUE(tree.parse(R"({"messages":[{"role":"bot","content":"x"},{"role":"user"},5]})"));
  FindingLog log;
  std::vector<Row> rows;
  const RowDecoder decoder(DataFormat::kChat, {});
  EXPECT_FALSE(decoder.decode(tree, {}, log, &rows, RowDecoder::Take::kWholeLists).good);
  ASSERT_EQ(rows.size(), 1);
  EXPECT_EQ(rows[0].messages_json, R"([{"role":"bot","content":"x"},{"role":"user"},5])");
}

TEST(ShareGptFormat, BecomesMessages) {
  const Decoded decoded =
      decode(DataFormat::kShareGpt,
             R"({"system":"be brief","conversations":[{"from":"human","value":"w?"},)"
             R"({"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"x\":1}}"},)"
             R"({"from":"observation","value":"4"},{"from":"gpt","value":"four"}],)"
             R"("tools":"[{\"name\":\"f\"}]"})");
  ASSERT_TRUE(decoded.good);
  EXPECT_TRUE(decoded.codes.empty());
  EXPECT_EQ(messages_of(decoded),
            Json::parse(R"([{"role":"system","content":"be brief"},{"role":"user","content":"w?"},)"
                        R"({"role":"assistant","content":null,"tool_calls":[{"type":"function",)"
                        R"("function":{"name":"f","arguments":{"x":1}}}]},)"
                        R"({"role":"tool","content":"4"},{"role":"assistant","content":"four"}])"));
  EXPECT_EQ(decoded.rows[0].tools_json, R"([{"name":"f"}])");
}

TEST(ShareGptFormat, Faults) {
  const auto codes = [](const std::string& turns) {
    return decode(DataFormat::kShareGpt, "{\"conversations\":[" + turns + "]}").codes;
  };
  const std::string user = R"({"from":"human","value":"q"},)";
  EXPECT_EQ(codes(user + R"({"from":"gptt","value":"a"},{"from":"gpt","value":"a"})"),
            (Codes{{"unknown_role", 1}}));
  EXPECT_EQ(codes(user + R"({"value":"a"},{"from":"gpt","value":"a"})"),
            (Codes{{"missing_field", 1}}));
  EXPECT_EQ(codes(user + R"({"from":"gpt","value":7},{"from":"gpt","value":"a"})")["wrong_type"],
            1);
  EXPECT_EQ(codes(user + R"({"from":"function_call","value":"no json"})"),
            (Codes{{"bad_tool_call", 1}}));
  EXPECT_EQ(codes(user + R"({"from":"human","value":"q"})"),
            (Codes{{"consecutive_users", 1}, {"no_assistant_turn", 1}}));
}

TEST(PromptCompletionFormat, KnownAndNamedColumns) {
  const Decoded qa = decode(DataFormat::kPromptCompletion, R"({"question":"q","answer":"a"})");
  ASSERT_TRUE(qa.good);
  EXPECT_EQ(qa.rows[0].kind, RowKind::kPromptCompletion);
  EXPECT_EQ(qa.rows[0].prompt, "q");
  EXPECT_EQ(qa.rows[0].completion, "a");
  const Decoded alpaca =
      decode(DataFormat::kPromptCompletion, R"({"instruction":"i","input":"x","output":"o"})");
  EXPECT_EQ(alpaca.rows[0].prompt, "i\nx");
  const Decoded no_input =
      decode(DataFormat::kPromptCompletion, R"({"instruction":"i","input":"","output":"o"})");
  EXPECT_EQ(no_input.rows[0].prompt, "i");
  const Decoded named =
      decode(DataFormat::kPromptCompletion, R"({"question":"q","answer":"a","in":"x","out":"y"})",
             {"in", "out"});
  EXPECT_EQ(named.rows[0].prompt, "x");
  EXPECT_EQ(decode(DataFormat::kPromptCompletion, R"({"prompt":"p"})").codes,
            (Codes{{"missing_field", 1}}));
  EXPECT_EQ(decode(DataFormat::kPromptCompletion, R"({"prompt":1,"completion":"c"})").codes,
            (Codes{{"wrong_type", 1}}));
  EXPECT_EQ(decode(DataFormat::kPromptCompletion, R"({"prompt":"p","completion":""})").codes,
            (Codes{{"no_text_to_train", 1}}));
}

TEST(PromptCompletionFormat, ListsOfMessagesLearnTheCompletionOnly) {
  const Decoded decoded = decode(
      DataFormat::kPromptCompletion,
      R"({"prompt":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},)"
      R"({"role":"user","content":"c"}],"completion":[{"role":"assistant","content":"d"}]})");
  ASSERT_TRUE(decoded.good);
  EXPECT_EQ(messages_of(decoded),
            Json::parse(R"([{"role":"user","content":"a"},)"
                        R"({"role":"assistant","content":"b","weight":0},)"
                        R"({"role":"user","content":"c"},{"role":"assistant","content":"d"}])"));
}

TEST(TextFormat, TakesText) {
  const Decoded decoded = decode(DataFormat::kText, R"({"text":"once \"upon\" a time","id":7})");
  ASSERT_TRUE(decoded.good);
  EXPECT_EQ(decoded.rows[0].text, "once \"upon\" a time");
  EXPECT_EQ(decoded.rows[0].id, "7");
  EXPECT_EQ(decode(DataFormat::kText, R"({"text":""})").codes, (Codes{{"empty_field", 1}}));
  EXPECT_EQ(decode(DataFormat::kText, R"({"text":null})").codes, (Codes{{"missing_field", 1}}));
}

TEST(ConversationFormat, EachPairIsARow) {
  const Decoded decoded = decode(
      DataFormat::kConversations,
      R"({"conversation_id":"c1","persona":{"name":"p"},"emotional_arc":"calm","topic":"t",)"
      R"("training_pairs":[{"prompt_context":"ctx","user_query":"q1","target_response":"r1",)"
      R"("scaffolding_metadata":{}},{"prompt_context":"","user_query":"q2",)"
      R"("target_response":"r2","scaffolding_metadata":{"k":1}}]})");
  ASSERT_TRUE(decoded.good);
  EXPECT_TRUE(decoded.codes.empty());
  ASSERT_EQ(decoded.rows.size(), 2);
  EXPECT_EQ(Json::parse(decoded.rows[0].messages_json),
            Json::parse(R"([{"role":"system","content":"ctx"},{"role":"user","content":"q1"},)"
                        R"({"role":"assistant","content":"r1"}])"));
  EXPECT_EQ(Json::parse(decoded.rows[1].messages_json),
            Json::parse(R"([{"role":"user","content":"q2"},{"role":"assistant","content":"r2"}])"));
  EXPECT_EQ(decoded.rows[1].part, 1);
  EXPECT_EQ(decoded.rows[1].id, "c1");
}

TEST(ConversationFormat, FaultsNameThePair) {
  Decoded decoded = decode(
      DataFormat::kConversations,
      R"({"conversation_id":"c1","persona":"p","emotional_arc":[],"topic":3,"training_pairs":)"
      R"([{"prompt_context":"x","user_query":"q","target_response":"r","scaffolding_metadata":{}},)"
      R"({"prompt_context":5,"user_query":"","target_response":null,"scaffolding_metadata":[]}]})");
  EXPECT_FALSE(decoded.good);
  EXPECT_TRUE(decoded.rows.empty());
  EXPECT_EQ(decoded.codes, (Codes{{"empty_field", 1},
                                  {"missing_field", 1},
                                  {"wrong_metadata_type", 2},
                                  {"wrong_type", 1}}));
  EXPECT_EQ(first_finding(decoded.log, Rule::kMissingField).field_path,
            "training_pairs[1].target_response");
  EXPECT_EQ(first_finding(decoded.log, Rule::kMissingField).id, "c1");
  EXPECT_EQ(
      decode(DataFormat::kConversations, R"({"conversation_id":"c","training_pairs":[]})").codes,
      (Codes{{"empty_array", 1}, {"missing_metadata", 3}}));
}

TEST(DetectFormat, TakesTheMajority) {
  const std::string chat = "{\"messages\":[]}\n";
  const std::string text = "{\"text\":\"\"}\n";
  const auto detect = [](const std::string& head) {
    return detect_format(head, DataLayout::kJsonLines, {});
  };
  EXPECT_EQ(detect(text + chat + chat), DataFormat::kChat);
  EXPECT_EQ(detect(text + chat), DataFormat::kText);
  EXPECT_EQ(detect("nonsense\n" + chat), DataFormat::kChat);
  EXPECT_EQ(detect("{\"a\":1}\n"), DataFormat::kAuto);
  EXPECT_EQ(detect("{\"conversation_id\":\"a\",\"training_pairs\":[]}\n"),
            DataFormat::kConversations);
  EXPECT_EQ(detect_format("[{\"conversations\":[]},", DataLayout::kJsonArray, {}),
            DataFormat::kShareGpt);
  EXPECT_EQ(detect_format("{\"in\":\"a\",\"out\":\"b\",\"text\":\"c\"}\n", DataLayout::kJsonLines,
                          {"in", "out"}),
            DataFormat::kPromptCompletion);
}

}  // namespace
}  // namespace ratchet::trainer

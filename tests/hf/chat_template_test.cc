#include "trainer/hf/chat_template.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <map>
#include <thread>

#include "tests/hf/shared_inputs.h"

namespace ratchet::trainer {
namespace {

using testing::compile_file;
using testing::expected_renders;
using testing::have_shared_inputs;

constexpr const char* kHello = R"([{"role":"user","content":"Hello"}])";

ChatTemplate compile(std::string_view source, SpecialTokens tokens = {}) {
  auto compiled = ChatTemplate::from_source(source, std::move(tokens));
  EXPECT_TRUE(compiled) << (compiled ? "" : compiled.error().message);
  return compiled.value();
}

std::string render(std::string_view source, std::string_view messages = kHello,
                   const RenderOptions& options = {}) {
  const auto rendered = compile(source).render(messages, options);
  return rendered ? rendered->text : "error: " + rendered.error().message;
}

TEST(ChatTemplate, EveryPublishedRenderIsExact) {
  if (!have_shared_inputs()) GTEST_SKIP() << "shared inputs absent";
  std::map<std::string, ChatTemplate> compiled;
  size_t texts = 0;
  size_t errors = 0;
  for (const auto& expected : expected_renders()) {
    SCOPED_TRACE(expected.template_name + " " + expected.test_case);
    if (!compiled.contains(expected.template_name)) {
      compiled.emplace(expected.template_name, compile_file(expected.template_name));
    }
    const auto rendered =
        compiled.at(expected.template_name).render(expected.messages_json, expected.options);
    if (!expected.rendered) {
      ++errors;
      EXPECT_FALSE(rendered) << rendered->text;
      // What a template raises itself must reach the user word for word.
      if (!rendered && expected.error == "TemplateError") {
        EXPECT_NE(rendered.error().message.find(expected.error_text), std::string::npos)
            << rendered.error().message;
      }
      continue;
    }
    ++texts;
    ASSERT_TRUE(rendered) << rendered.error().message;
    EXPECT_EQ(rendered->text, *expected.rendered);
    if (expected.spans) {
      EXPECT_EQ(rendered->generation_spans, *expected.spans);
    }
  }
  EXPECT_EQ(texts, 190U);
  EXPECT_EQ(errors, 35U);
}

TEST(ChatTemplate, BlocksAreTrimmedAsTransformersDoes) {
  EXPECT_EQ(render("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(render("a {%- if true -%} b {%- endif -%} c"), "abc");
  EXPECT_EQ(render("a\n  {%+ if true +%}\nb{% endif %}"), "a\n  \nb");
  EXPECT_EQ(render("one\r\ntwo\rthree"), "one\ntwo\nthree");
}

TEST(ChatTemplate, LoopControlsWork) {
  EXPECT_EQ(render("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
                   "{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}"),
            "023");
}

TEST(ChatTemplate, ToJsonWritesAsPythonDoes) {
  const RenderOptions options{
      .variables_json = R"({"v":{"b":[1,2.0,1e16,1e-5,true,null],"a":"<é&'\"\n\u0001"}})"};
  EXPECT_EQ(render("{{ v | tojson }}", kHello, options),
            R"({"b": [1, 2.0, 1e+16, 1e-05, true, null], "a": "<é&'\"\n\u0001"})");
  EXPECT_EQ(render("{{ v.b[:2] | tojson(indent=2) }}", kHello, options), "[\n  1,\n  2.0\n]");
  EXPECT_EQ(render("{{ {'b': [], 'a': {}} | tojson(indent=1) }}"), "{\n \"b\": [],\n \"a\": {}\n}");
  EXPECT_EQ(render("{{ {'b': 1, 'a': 'é😀'} | tojson(ensure_ascii=true, sort_keys=true, "
                   "separators=(',', ':')) }}"),
            R"({"a":"\u00e9\ud83d\ude00","b":1})");
  EXPECT_NE(render("{{ missing | tojson }}").find("error: "), std::string::npos);
}

TEST(ChatTemplate, ValuesPrintAsPythonPrintsThem) {
  const RenderOptions options{
      .variables_json =
          R"({"v":{"a":[1,2.5,"x","it's","q\"'",null,true],"e\n":"\u0000\u00ad\u200b é"}})"};
  EXPECT_EQ(render("{{ v }}", kHello, options),
            "{'a': [1, 2.5, 'x', \"it's\", 'q\"\\'', None, True], "
            "'e\\n': '\\x00\\xad\\u200b é'}");
  EXPECT_EQ(render("{{ none }} {{ true }} {{ 1e20 }} {{ 0.0001 }} {{ 3.0 }} {{ missing }}"),
            "None True 1e+20 0.0001 3.0 ");
  EXPECT_EQ(render("{{ [1, 'a'] | string + '!' }}"), "[1, 'a']!");
}

TEST(ChatTemplate, FloatAndIntFollowJinja) {
  EXPECT_EQ(render("{{ '4 C' | float }} {{ ' 2.50 ' | float }} {{ 'x' | float(1.5) }}"),
            "0.0 2.5 1.5");
  EXPECT_EQ(render("{{ '4 C' | int }} {{ '3.9' | int }} {{ 'x' | int(7) }} {{ '1_000' | int }}"),
            "0 3 7 1000");
  EXPECT_EQ(render("{{ none | int }} {{ none | float }} {{ [] | float(default=2.0) }}"),
            "0 0.0 2.0");
}

TEST(ChatTemplate, MarkupEscapesTheTextThatJoinsIt) {
  EXPECT_EQ(render("{{ '<a>' + ('<b>' | safe) + '\"' }}"), "&lt;a&gt;<b>&#34;");
  EXPECT_EQ(render("{{ '<a>' }}{{ '<b>' | safe }}"), "<a><b>");
  EXPECT_EQ(render("{{ '<a>' | e }} {{ ('<a>' | e) | e }}"), "&lt;a&gt; &lt;a&gt;");
  EXPECT_EQ(render("{{ ('<b>' | safe) | length }} {{ ['<', '>' | safe] | join('&') }}"), "3 <&>");
  EXPECT_EQ(render("{{ {'a': '<' | safe} | tojson }}"), R"({"a": "<"})");
}

TEST(ChatTemplate, StringMethodsAreThoseOfPython) {
  EXPECT_EQ(render("{{ ' \x1c a '.strip() }}|{{ 'xxay'.lstrip('x') }}|{{ 'a\n'.rstrip() }}"),
            "a|ay|a");
  EXPECT_EQ(
      render("{{ 'a  b c'.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.rsplit(' ', 1) }}"),
      "['a', 'b', 'c'] ['a', 'b,c'] ['a b', 'c']");
  EXPECT_EQ(render("{{ 'éab'.find('b') }} {{ 'ab'.find('z') }} {{ 'aaa'.count('') }}"), "2 -1 4");
  EXPECT_EQ(render("{{ 'they are'.title() }} {{ 'a=b=c'.partition('=') }} "
                   "{{ 'a=b=c'.rpartition('=') }}"),
            "They Are ['a', '=', 'b=c'] ['a=b', '=', 'c']");
  EXPECT_EQ(render("{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'a\r\nb'.splitlines() }}"),
            "x ['a', 'b']");
}

TEST(ChatTemplate, TheClockIsTheCallersAndFixedInTraining) {
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y') }}"), "26 Jul 2024");
  RenderOptions options;
  options.now_s = 1709251199;  // 2024-02-29 23:59:59, a Thursday
  EXPECT_EQ(render("{{ strftime_now('%A %B %-d %Y %H:%M:%S %I %p %j %%') }}", kHello, options),
            "Thursday February 29 2024 23:59:59 11 PM 060 %");
  EXPECT_NE(render("{{ strftime_now('%Q') }}").find("%Q"), std::string::npos);
}

TEST(ChatTemplate, UndefinedBehavesAsInJinja) {
  EXPECT_EQ(render("{{ missing | length }}{% for x in missing %}x{% endfor %}"
                   "{% if 'a' in missing %}b{% endif %}{{ messages[0].nothing }}"),
            "0");
  for (const char* source : {"{{ missing.x }}", "{{ missing + 'a' }}", "{{ none + 'a' }}"}) {
    EXPECT_EQ(render(source).rfind("error: ", 0), 0U) << source;
  }
  EXPECT_EQ(render("{{ tools is none }} {{ tools is defined }} {{ enable_thinking is defined }}"),
            "True True False");
}

TEST(ChatTemplate, SpecialTokensAndVariablesReachTheTemplate) {
  const auto compiled = compile("{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ x }}",
                                {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  EXPECT_EQ(compiled.render(kHello, {.variables_json = R"({"x": 1})"})->text, "<s></s>1");
  EXPECT_EQ(compiled.render(kHello, {.special_tokens = SpecialTokens{}})->text, "");
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  const auto broken = ChatTemplate::from_source("a\n{% if %}", {});
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Code::kInvalidArgument);
  EXPECT_NE(broken.error().message.find("line 2"), std::string::npos) << broken.error().message;
  EXPECT_NE(render("\n{{ raise_exception('No such role.') }}").find("No such role. (line 2"),
            std::string::npos);
}

TEST(ChatTemplate, WorkIsBounded) {
  EXPECT_EQ(render("{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}"
                   "{% endfor %}")
                .rfind("error: ", 0),
            0U);
  EXPECT_EQ(render("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}").rfind("error: ", 0),
            0U);
  EXPECT_EQ(render("{% for a in range(2000) %}{{ 'x' * 1000000 }}{% endfor %}").rfind("error: ", 0),
            0U);
  EXPECT_EQ(render("{{ 'aaa'.count('') }}"), "4");
}

TEST(ChatTemplate, DocumentsThatAreNotJsonAreRefused) {
  const auto compiled = compile("{{ messages }}");
  const std::string deep(2000, '[');
  for (const std::string& messages : std::vector<std::string>{
           "", "{}", "[", "[NaN]", R"(["\ud800"])", "[\"\xff\"]", R"([]},"bos_token":"x")",
           deep + std::string(2000, ']'), "[1] [2]"}) {
    const auto rendered = compiled.render(messages);
    ASSERT_FALSE(rendered) << messages;
    EXPECT_EQ(rendered.error().code, Code::kInvalidArgument);
  }
  EXPECT_FALSE(compiled.render(kHello, {.tools_json = "{}"}));
  EXPECT_FALSE(compiled.render(kHello, {.variables_json = "[]"}));
}

TEST(ChatTemplate, ContentIsNeverRunAsTemplate) {
  EXPECT_EQ(render("{{ messages[0].content }}", R"([{"content":"{{ 1 + 1 }}{% raw %}"}])"),
            "{{ 1 + 1 }}{% raw %}");
}

TEST(ChatTemplate, FolderSourcesComeInOrder) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "ratchet_template_folder";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto write = [&folder](const char* name, const std::string& text) {
    std::ofstream(folder / name, std::ios::binary) << text;
  };
  const auto text = [&folder](const std::optional<std::filesystem::path>& file = std::nullopt) {
    const auto loaded = ChatTemplate::load(folder, file);
    return loaded ? loaded->render(kHello)->text : loaded.error().message;
  };
  EXPECT_NE(text().find("--template FILE"), std::string::npos);
  write("tokenizer_config.json", R"({"chat_template": "config {{ bos_token }}",
      "bos_token": {"content": "<B>", "lstrip": false}, "eos_token": null})");
  EXPECT_EQ(text(), "config <B>");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "no"},
      {"name": "default", "template": "named"}]})");
  EXPECT_EQ(text(), "named");
  write("chat_template.jinja", "file");
  EXPECT_EQ(text(), "file");
  write("mine.jinja", "mine");
  EXPECT_EQ(text(folder / "mine.jinja"), "mine");
  EXPECT_NE(text(folder / "absent.jinja").find("absent.jinja"), std::string::npos);
  write("chat_template.jinja", "{% if %}");
  EXPECT_NE(text().find("chat_template.jinja': The chat template cannot be used"),
            std::string::npos);
}

TEST(ChatTemplate, ThreadsRenderAlike) {
  const auto compiled =
      compile("{% for m in messages %}{{ m.role }}:{{ m | tojson }}\n{% endfor %}");
  const std::string expected = compiled.render(kHello)->text;
  std::vector<std::jthread> threads;
  std::atomic<int> equal{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) equal += compiled.render(kHello)->text == expected ? 1 : 0;
    });
  }
  threads.clear();
  EXPECT_EQ(equal.load(), 800);
}

}  // namespace
}  // namespace ratchet::trainer

// {% generation %}: the tags change no byte of a render and enclose what they stand around.

#include <gtest/gtest.h>

#include "trainer/hf/chat_template.h"

namespace ratchet::trainer {
namespace {

constexpr const char* kGreeting = R"([{"role":"user","content":"Hello"}])";

struct Marked {
  std::string text;
  std::vector<std::string> enclosed;
};

Marked render_tagged(std::string_view source, std::string_view messages = kGreeting) {
  const auto compiled = ChatTemplate::from_source(source, {});
  if (!compiled) return {"error: " + compiled.error().message, {}};
  const auto rendered = compiled->render(messages);
  if (!rendered) return {"error: " + rendered.error().message, {}};
  Marked marked{rendered->text, {}};
  for (const ByteSpan& span : rendered->generation_spans) {
    marked.enclosed.push_back(rendered->text.substr(span.begin, span.end - span.begin));
  }
  return marked;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

TEST(GenerationTags, ActOnWhiteSpaceAsAnyOtherBlock) {
  // Every combination of white space control on both tags, in a line of its own and inside one.
  const std::vector<std::string> controls = {"", "-", "+"};
  for (const char* shape : {"a \n  {%1 generation 2%}\n b \n {%3 endgeneration 4%} \n c",
                            "a {%1 generation 2%} b {%3 endgeneration 4%} c",
                            "{% for i in [1, 2] %}\n x\n  {%1 generation 2%}\n{{ i }}\n"
                            "  {%3 endgeneration 4%}\n{% endfor %}"}) {
    for (int k = 0; k < 81; ++k) {
      std::string source = shape;
      source = replaced(source, "{%1", "{%" + controls[static_cast<size_t>(k % 3)]);
      source = replaced(source, "2%}", controls[static_cast<size_t>(k / 3 % 3)] + "%}");
      source = replaced(source, "{%3", "{%" + controls[static_cast<size_t>(k / 9 % 3)]);
      source = replaced(source, "4%}", controls[static_cast<size_t>(k / 27)] + "%}");
      std::string plain = replaced(source, "endgeneration", "endif");
      plain = replaced(plain, "generation", "if true");
      EXPECT_EQ(render_tagged(source).text, render_tagged(plain).text) << source;
    }
  }
}

TEST(GenerationTags, EncloseTheirBlock) {
  const auto marked =
      render_tagged("a{% generation %}é{% endgeneration %}b{%generation%}{%endgeneration%}c");
  EXPECT_EQ(marked.text, "aébc");
  EXPECT_EQ(marked.enclosed, (std::vector<std::string>{"é", ""}));
}

TEST(GenerationTags, AreFoundOnlyWhereTheyAreTags) {
  for (const char* source :
       {"{# {% generation %} #}x", "{% raw %}{% generation %}{% endraw %}",
        "{{ '{% generation %}' }}", "{% set x = \"{% generation %}\" %}{{ x }}",
        "{{ {'a': {'b': 1}}.a.b }}", "{ {% if true %}{%%}"}) {
    const auto compiled = ChatTemplate::from_source(source, {});
    EXPECT_FALSE(compiled && compiled->has_generation_tags()) << source;
  }
  EXPECT_EQ(render_tagged("{% raw %}{% generation %}{% endraw %}").text, "{% generation %}");
  EXPECT_EQ(render_tagged("{{ '{% generation %}' }}").text, "{% generation %}");
  EXPECT_EQ(render_tagged("{# ' #}{% generation %}{{ '}}' }}{% endgeneration %}").enclosed,
            std::vector<std::string>{"}}"});
}

TEST(GenerationTags, UnbalancedOnesDoNotCompile) {
  for (const char* source : {"{% generation %}", "{% endgeneration %}",
                             "{% generation %}{% if true %}{% endgeneration %}{% endif %}"}) {
    EXPECT_FALSE(ChatTemplate::from_source(source, {})) << source;
  }
}

TEST(GenerationTags, ABlockThatIsCutIsAnErrorAndNotAWrongSpan) {
  EXPECT_EQ(
      render_tagged("{% set x %}{% generation %}ab{% endgeneration %}{% endset %}{{ x[:-1] }}")
          .text.rfind("error: ", 0),
      0U);
  EXPECT_EQ(render_tagged("{% set x %}{% generation %}ab{% endgeneration %}{% endset %}-{{ x }}")
                .enclosed,
            std::vector<std::string>{"ab"});
}

TEST(GenerationTags, ContentCannotForgeAMark) {
  // Noncharacters as the marks use them, in every shape that could be mistaken for one.
  const std::string content =
      "\xef\xb7\x90"
      "1123\xef\xb7\x91\xef\xb7\x90"
      "2123\xef\xb7\x91";
  const auto marked = render_tagged("{% generation %}x{% endgeneration %}{{ messages[0].content }}",
                                    R"([{"content":")" + content + R"("}])");
  EXPECT_EQ(marked.text, "x" + content);
  EXPECT_EQ(marked.enclosed, std::vector<std::string>{"x"});
}

}  // namespace
}  // namespace ratchet::trainer

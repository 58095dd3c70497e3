#include "controlplane/service/settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace ratchet::control {
namespace {

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Settings, TemplateIsTheTable) {
  EXPECT_EQ(read_all(std::string(RATCHET_SOURCE_DIR) + "/deploy/ratchet-control.example.conf"),
            settings_template())
      << "write it anew: ratchet-control --print-settings > deploy/ratchet-control.example.conf";
}

TEST(Settings, TemplateWithItsCommentsTakenAwayIsTheDefaults) {
  std::string text;
  std::istringstream in(settings_template());
  for (std::string line; std::getline(in, line);) {
    const bool setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    text += (setting ? line.substr(1) : line) + "\n";
  }
  const auto parsed = parse_settings_file("template", text);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  EXPECT_EQ(parsed->size(), setting_table().size());
  EXPECT_EQ(effective_settings({*parsed}), effective_settings({}));
}

TEST(Settings, DefaultsAreThoseOfTheCore) {
  const auto made = make_settings({});
  ASSERT_TRUE(made.has_value()) << made.error().message;
  const CoreSettings core;
  EXPECT_EQ(made->core.heartbeat, core.heartbeat);
  EXPECT_EQ(made->core.authority_ttl, core.authority_ttl);
  EXPECT_EQ(made->core.backoff, core.backoff);
  EXPECT_EQ(made->core.hang_factor, core.hang_factor);
  EXPECT_EQ(made->core.checkpoints_kept, core.checkpoints_kept);
  EXPECT_EQ(made->core.no_capacity_after, core.no_capacity_after);
  EXPECT_EQ(made->core.upload_wait, core.upload_wait);
}

TEST(Settings, LaterLayersWin) {
  const auto made =
      make_settings({{{"listen", "a:1"}, {"heartbeat_ms", "100"}}, {{"listen", "b:2"}}});
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->listen, "b:2");
  EXPECT_EQ(made->core.heartbeat, Millis(100));
}

TEST(Settings, EveryFaultIsNamedAtOnce) {
  const auto made = make_settings({{{"rate_limit_per_s", "many"},
                                    {"allow_plaintext", "maybe"},
                                    {"backoff_ms", "1,x"},
                                    {"tls_cert", "c.pem"},
                                    {"contact_ttl_ms", "400000"}}});
  ASSERT_FALSE(made.has_value());
  for (const auto* part :
       {"rate_limit_per_s", "allow_plaintext", "backoff_ms", "tls_key", "authority_ttl_ms"}) {
    EXPECT_NE(made.error().message.find(part), std::string::npos) << part;
  }
}

TEST(Settings, FileFaultsHaveTheirLines) {
  const auto parsed =
      parse_settings_file("f.conf", "listen = x\n\n# note\nlistne = y\nnothing\nlisten=z\n");
  ASSERT_FALSE(parsed.has_value());
  const auto& message = parsed.error().message;
  EXPECT_NE(message.find("line 4: no setting is called 'listne', did you mean 'listen'"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("line 5"), std::string::npos);
  EXPECT_NE(message.find("line 6"), std::string::npos);
}

TEST(Settings, EnvironmentHasItsOwnNames) {
  const auto texts = settings_from_environment([](const char* name) -> const char* {
    return std::string_view(name) == "RATCHET_RATE_LIMIT_PER_S" ? "7" : nullptr;
  });
  EXPECT_EQ(texts, (SettingTexts{{"rate_limit_per_s", "7"}}));
  EXPECT_EQ(setting_flag("rate_limit_per_s"), "--rate-limit-per-s");
}

}  // namespace
}  // namespace ratchet::control

#include "controlplane/cli/login.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

class Login : public testing::Test {
 protected:
  Login() : folder_(fs::path(testing::TempDir()) / ("login-" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    variables_["HOME"] = folder_.string();
  }
  ~Login() override { fs::remove_all(folder_); }

  Environment environment() {
    return [this](const char* name) {
      const auto found = variables_.find(name);
      return found == variables_.end() ? std::string() : found->second;
    };
  }
  std::string file(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    return path;
  }

  fs::path folder_;
  std::map<std::string, std::string> variables_;
};

TEST_F(Login, IsWrittenForItsOwnerOnlyAndReadBack) {
  const std::string path = default_login_file(environment());
  ASSERT_EQ(path, (folder_ / ".config/ratchet/login.json").string());
  ASSERT_TRUE(write_login(path, {"https://c:7070", "secret", "/ca.pem"}));
  struct stat facts{};
  ASSERT_EQ(::stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  ASSERT_EQ(::stat(fs::path(path).parent_path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0700U);
  const auto login = read_login(path);
  ASSERT_TRUE(login);
  EXPECT_EQ(login->url, "https://c:7070");
  EXPECT_EQ(login->token, "secret");
  EXPECT_EQ(login->ca_file, "/ca.pem");
}

TEST_F(Login, AFileThatOthersReadIsRefused) {
  const std::string path = file("login.json", R"({"url": "http://127.0.0.1:1", "token": "t"})");
  fs::permissions(path, fs::perms::group_read, fs::perm_options::add);
  const auto login = read_login(path);
  ASSERT_FALSE(login);
  EXPECT_NE(login.error().message.find("chmod 600"), std::string::npos);
}

TEST_F(Login, NobodyKnowsWhere) {
  const auto chosen = choose_endpoint({}, environment());
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().code, Code::kNotFound);
  EXPECT_NE(chosen.error().message.find("ratchet up"), std::string::npos);
}

TEST_F(Login, TheTokenOfALoginGoesToItsOwnUrlOnly) {
  variables_["RATCHET_LOGIN"] = file("login.json", R"({"url": "https://mine", "token": "secret"})");
  EXPECT_EQ(choose_endpoint({}, environment())->token, "secret");
  EndpointFlags flags;
  flags.url = "https://mine";
  EXPECT_EQ(choose_endpoint(flags, environment())->token, "secret");
  flags.url = "https://other";
  EXPECT_EQ(choose_endpoint(flags, environment())->token, "");
}

TEST_F(Login, FlagsWinOverTheEnvironmentAndThatOverTheFile) {
  variables_["RATCHET_LOGIN"] = file("login.json", R"({"url": "https://file", "token": "f"})");
  variables_["RATCHET_URL"] = "https://environment";
  variables_["RATCHET_TOKEN"] = "e";
  variables_["RATCHET_CA_FILE"] = "/e.pem";
  auto chosen = choose_endpoint({}, environment());
  EXPECT_EQ(chosen->url, "https://environment");
  EXPECT_EQ(chosen->token, "e");
  EXPECT_EQ(chosen->ca_file, "/e.pem");
  EndpointFlags flags;
  flags.url = "https://flag";
  flags.token_file = file("token", "flagged\nsecond line\n");
  flags.ca_file = "/f.pem";
  chosen = choose_endpoint(flags, environment());
  EXPECT_EQ(chosen->url, "https://flag");
  EXPECT_EQ(chosen->token, "flagged");
  EXPECT_EQ(chosen->ca_file, "/f.pem");
}

TEST_F(Login, AnEmptyTokenFileIsNamed) {
  const auto token = read_token(file("token", "\n"));
  ASSERT_FALSE(token);
  EXPECT_NE(token.error().message.find("first line is empty"), std::string::npos);
  EXPECT_FALSE(read_token((folder_ / "nothing").string()));
}

TEST_F(Login, RubbishIsNoLogin) {
  for (const char* text : {"", "[]", "{}", R"({"url": 7})", "{"}) {
    EXPECT_EQ(read_login(file("login.json", text)).error().code, Code::kCorrupt) << text;
  }
}

}  // namespace
}  // namespace ratchet::control::cli

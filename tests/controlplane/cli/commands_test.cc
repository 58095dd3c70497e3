// The commands of `ratchet` in this process, against a server that fails in every way that matters.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "controlplane/cli/cli.h"
#include "controlplane/cli/files.h"
#include "controlplane/cli/json_values.h"
#include "controlplane/cli/problem.h"
#include "tests/controlplane/cli/stand_in_server.h"

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

struct Ran {
  int exit = 0;
  std::string out;
  std::string err;
};

Ran ratchet(std::vector<const char*> words) {
  words.insert(words.begin(), "ratchet");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ran ran;
  ran.exit = run_cli(static_cast<int>(words.size()), words.data());
  ran.out = testing::internal::GetCapturedStdout();
  ran.err = testing::internal::GetCapturedStderr();
  return ran;
}

Play json_play(int status, const Json& body) {
  return {status, body.dump(), {{"Content-Type", "application/json"}}, false};
}

Play error_play(int status, const std::string& code, const std::string& error_class) {
  return json_play(status, {{"error",
                             {{"code", code},
                              {"class", error_class},
                              {"message", "It was " + code + "."},
                              {"next_step", "Do something."},
                              {"details", Json::object()},
                              {"request_id", "r-1"}}}});
}

class Commands : public testing::Test {
 protected:
  Commands() : folder_(fs::path(testing::TempDir()) / ("commands-" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    ::setenv("RATCHET_LOGIN", (folder_ / "login.json").c_str(), 1);
    ::setenv("RATCHET_TOKEN", "secret-token", 1);
    for (const char* name : {"RATCHET_URL", "RATCHET_TOKEN_FILE", "RATCHET_CA_FILE"}) {
      ::unsetenv(name);
    }
  }
  ~Commands() override { fs::remove_all(folder_); }

  StandInServer& serve(StandInServer::Script script) {
    server_.emplace(std::move(script));
    ::setenv("RATCHET_URL", server_->url().c_str(), 1);
    return *server_;
  }
  std::string write(const std::string& name, const std::string& text) {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  static std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  fs::path folder_;
  std::optional<StandInServer> server_;
};

TEST_F(Commands, ListAsksInPagesAndShowsATable) {
  auto& server = serve([](const Seen& request) {
    const bool second = request.target.find("cursor=next") != std::string::npos;
    return json_play(200, {{"items", {{{"id", second ? "job-2" : "job-1"}, {"state", "queued"}}}},
                           {"next_cursor", second ? Json() : Json("next")}});
  });
  const Ran table = ratchet({"list", "--all"});
  EXPECT_EQ(table.exit, 0);
  EXPECT_NE(table.out.find("job-1"), std::string::npos);
  EXPECT_NE(table.out.find("job-2"), std::string::npos);
  EXPECT_EQ(Json::parse(ratchet({"list", "--all", "--json"}).out).size(), 2U);
  EXPECT_EQ(server.seen().at(0).header("Authorization"), "Bearer secret-token");
}

TEST_F(Commands, EveryKindOfRefusalHasItsExitCode) {
  Play play;
  serve([&](const Seen&) { return play; });
  play = error_play(404, "job_not_found", "persistent");
  Ran ran = ratchet({"show", "nothing"});
  EXPECT_EQ(ran.exit, kExitNotFound);
  EXPECT_EQ(ran.err, "error: It was job_not_found.\nDo something.\n");
  play = error_play(401, "unauthenticated", "persistent");
  EXPECT_EQ(ratchet({"show", "x"}).exit, kExitNotAllowed);
  play = error_play(409, "job_terminal", "persistent");
  EXPECT_EQ(ratchet({"pause", "x"}).exit, kExitFailed);
  play = error_play(503, "not_ready", "transient");
  EXPECT_EQ(ratchet({"list"}).exit, kExitUnreachable);
  play = {200, "<html>\x1b[2Jhello</html>", {}, false};
  ran = ratchet({"list", "--json"});
  EXPECT_EQ(ran.exit, kExitFailed);
  EXPECT_EQ(Json::parse(ran.out)["error"]["code"], "unexpected_answer");
  EXPECT_EQ(ran.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(ran.err, "");
}

TEST_F(Commands, NobodyAnswers) {
  std::string url;
  {
    const StandInServer gone([](const Seen&) { return Play{}; });
    url = gone.url();
  }
  const Ran ran = ratchet({"list", "--server", url.c_str(), "--json"});
  EXPECT_EQ(ran.exit, kExitUnreachable);
  EXPECT_EQ(Json::parse(ran.out)["error"]["class"], "transient");
  EXPECT_EQ(ratchet({"list"}).exit, kExitNotAllowed) << "no URL, no login";
  EXPECT_EQ(ratchet({"list", "--server", "ftp://x"}).exit, kExitFailed);
  EXPECT_EQ(ratchet({"list", "--no-such-flag"}).exit, kExitUsage);
  EXPECT_EQ(ratchet({"no-such-command"}).exit, kExitUsage);
}

// Keeps artifacts as the control plane does.
class ArtifactPlay {
 public:
  std::map<std::string, std::string> files;  // path -> bytes that were received
  std::map<std::string, std::int64_t> sizes;
  bool sealed = false;
  int lose_answers = 0;   // of so many uploads: stored, but the answer is cut
  int halve_uploads = 0;  // of so many only half is kept

  std::optional<Play> answer(const Seen& request) {
    if (request.target == "/v1/artifacts") return declare(Json::parse(request.body));
    const std::string files_at = "/v1/artifacts/art-1/files/";
    if (request.method == "PUT" && request.target.starts_with(files_at)) {
      return put(request.target.substr(files_at.size()), request);
    }
    if (request.target == "/v1/artifacts/art-1/seal") {
      sealed = true;
      return json_play(200, {{"id", "art-1"}, {"state", "sealed"}});
    }
    return std::nullopt;
  }

 private:
  Play declare(const Json& body) {
    Json list = Json::array();
    for (const Json& file : body["files"]) {
      const std::string path = file["path"];
      sizes[path] = file["bytes"];
      list.push_back({{"path", path}, {"received_bytes", files[path].size()}});
    }
    return json_play(201,
                     {{"id", "art-1"}, {"state", sealed ? "sealed" : "open"}, {"files", list}});
  }
  Play put(const std::string& path, const Seen& request) {
    std::string& have = files[path];
    if (request.header("Upload-Offset") != std::to_string(have.size())) {
      Play play = error_play(409, "upload_offset_mismatch", "persistent");
      play.headers["Upload-Offset"] = std::to_string(have.size());
      return play;
    }
    if (halve_uploads > 0) {
      --halve_uploads;
      have += request.body.substr(0, request.body.size() / 2);
      return error_play(503, "store_unavailable", "transient");
    }
    have += request.body;
    Play play = json_play(200, Json::object());
    play.headers["Upload-Offset"] = std::to_string(have.size());
    play.cut = lose_answers-- > 0;
    return play;
  }
};

TEST_F(Commands, SubmitUploadsWhatIsMissingAndOnlyOnce) {
  write("model/config.json", "{}");
  const std::string weights(3'000'000, 'w');
  write("model/model.safetensors", weights);
  write("chats.jsonl", "{\"a\": 1}\n");
  const std::string spec = write(
      "job.json", R"({"name": "bot", "base_model": "model", "data": {"train": "chats.jsonl"}})");
  ArtifactPlay artifacts;
  artifacts.files["model.safetensors"] = weights.substr(0, 1000);  // of an earlier try
  artifacts.lose_answers = 1;
  artifacts.halve_uploads = 1;
  auto& server = serve([&](const Seen& request) {
    if (auto play = artifacts.answer(request)) return *play;
    if (request.target == "/v1/jobs") return json_play(201, {{"id", "bot-1"}, {"state", "queued"}});
    return json_play(200, {{"items", Json::array()}, {"next_cursor", nullptr}});
  });
  Ran ran = ratchet({"submit", spec.c_str(), "--priority", "7", "--starts-at", "+1h", "--json"});
  ASSERT_EQ(ran.exit, 0) << ran.out << ran.err;
  EXPECT_EQ(Json::parse(ran.out)["id"], "bot-1");
  EXPECT_EQ(artifacts.files["model.safetensors"], weights);
  EXPECT_EQ(artifacts.files["config.json"], "{}");
  const auto declared = Json::parse(server.seen("POST /v1/artifacts").at(0).body);
  EXPECT_EQ(declared["files"][1]["sha256"], hash_text(weights));

  const auto jobs = server.seen("POST /v1/jobs");
  ASSERT_EQ(jobs.size(), 1U);
  const Json body = Json::parse(jobs[0].body);
  EXPECT_EQ(body["spec"]["training"]["data_epochs"], 3) << "the preset is filled in";
  EXPECT_EQ(body["inputs"]["base_model"]["artifact_id"], "art-1");
  EXPECT_EQ(body["priority"], 7);
  EXPECT_GT(body["starts_at_ms"].get<std::int64_t>(), 1'700'000'000'000);
  EXPECT_EQ(jobs[0].header("Idempotency-Key").size(), 32U);

  artifacts.sealed = true;
  const auto puts = server.seen("PUT").size();
  ran = ratchet({"submit", spec.c_str()});
  EXPECT_EQ(ran.exit, 0);
  EXPECT_EQ(server.seen("PUT").size(), puts) << "all is there already";
  EXPECT_NE(ran.out.find("ratchet watch bot-1"), std::string::npos);
  EXPECT_NE(ran.err.find("already there"), std::string::npos);
}

TEST_F(Commands, ASubmitWhoseAnswerIsLostGoesOutAgainWithItsKey) {
  std::atomic<int> tries = 0;
  auto& server = serve([&](const Seen& request) {
    if (request.target != "/v1/jobs") {
      return json_play(200, {{"items", Json::array()}, {"next_cursor", nullptr}});
    }
    Play play = json_play(201, {{"id", "bot-1"}, {"state", "queued"}});
    play.cut = ++tries < 3;
    if (play.cut) play.body.resize(3);
    return play;
  });
  const std::string spec =
      write("job.json", R"({"name": "bot", "base_model": "m", "data": {"train": "d"}})");
  const Ran ran = ratchet(
      {"submit", spec.c_str(), "--node-path", "base_model=/m", "--node-path", "train=/d/x.jsonl"});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  const auto jobs = server.seen("POST /v1/jobs");
  ASSERT_EQ(jobs.size(), 3U);
  EXPECT_EQ(jobs[0].header("Idempotency-Key"), jobs[2].header("Idempotency-Key"));
  EXPECT_EQ(Json::parse(jobs[0].body)["inputs"]["train"]["node_path"], "/d/x.jsonl");
}

TEST_F(Commands, SubmitRefusesBeforeItAsksAnyone) {
  auto& server = serve([](const Seen&) { return json_play(200, Json::object()); });
  const std::string spec =
      write("job.json", R"({"name": "bot", "base_model": "absent", "data": {"train": "absent"}})");
  Ran ran = ratchet({"submit", spec.c_str(), "--set", "lora.rnk=3", "--json"});
  EXPECT_EQ(ran.exit, kExitFailed);
  EXPECT_EQ(Json::parse(ran.out)["findings"][0]["path"], "$.lora.rnk");
  EXPECT_EQ(ratchet({"submit", spec.c_str(), "--starts-at", "soon"}).exit, kExitUsage);
  EXPECT_EQ(ratchet({"submit", spec.c_str(), "--gpu-memory", "lots"}).exit, kExitUsage);
  EXPECT_EQ(ratchet({"submit", spec.c_str(), "--node-path", "weights=/w"}).exit, kExitUsage);
  EXPECT_EQ(ratchet({"submit"}).exit, kExitFailed);
  EXPECT_TRUE(server.seen().empty());
  ran = ratchet({"submit", spec.c_str()});
  EXPECT_EQ(ran.exit, kExitNotFound);
  EXPECT_NE(ran.err.find("--node-path base_model=/path"), std::string::npos);
}

class Download : public Commands {
 protected:
  const std::string text_ = std::string(200'000, 'a') + "end";
  std::string digest_ = hash_text(text_);
  std::string path_ = "adapter/model.bin";
  int cuts_ = 3;
  bool lies_ = false;

  Play answer(const Seen& request) {
    if (request.target == "/v1/jobs/bot-1") {
      return json_play(200,
                       {{"id", "bot-1"}, {"state", "completed"}, {"result_artifact", "art-9"}});
    }
    if (request.target == "/v1/artifacts/art-9") {
      return json_play(
          200, {{"files", {{{"path", path_}, {"bytes", text_.size()}, {"sha256", digest_}}}}});
    }
    std::size_t offset = 0;
    const std::string range = request.header("Range");
    if (!range.empty()) offset = std::stoul(range.substr(6));
    std::string body = text_.substr(offset);
    if (lies_) body.assign(body.size(), 'x');
    Play play{offset > 0 ? 206 : 200, body, {}, false};
    if (cuts_-- > 0) {
      play.body.resize(std::min<std::size_t>(body.size(), 50'000));
      play.cut = true;
    }
    return play;
  }
};

TEST_F(Download, GoesOnWhereItWasCutOffAndChecksTheDigest) {
  auto& server = serve([this](const Seen& request) { return answer(request); });
  const std::string out = (folder_ / "out").string();
  Ran ran = ratchet({"download", "bot-1", "--out", out.c_str(), "--json"});
  ASSERT_EQ(ran.exit, 0) << ran.out;
  EXPECT_EQ(read(folder_ / "out/adapter/model.bin"), text_);
  EXPECT_FALSE(fs::exists(folder_ / "out/adapter/model.bin.part"));
  const auto gets = server.seen("GET /v1/artifacts/art-9/files/");
  ASSERT_EQ(gets.size(), 4U);
  EXPECT_EQ(gets[0].header("Range"), "");
  EXPECT_EQ(gets[3].header("Range"), "bytes=150000-");
  ran = ratchet({"download", "bot-1", "--out", out.c_str(), "--json"});
  EXPECT_EQ(Json::parse(ran.out)["received_bytes"], 0);
  EXPECT_EQ(server.seen("GET /v1/artifacts/art-9/files/").size(), 4U);
}

TEST_F(Download, BytesOfAnotherFileAreNeverKept) {
  cuts_ = 0;
  lies_ = true;
  serve([this](const Seen& request) { return answer(request); });
  const std::string out = (folder_ / "out").string();
  const Ran ran = ratchet({"download", "bot-1", "--out", out.c_str()});
  EXPECT_EQ(ran.exit, kExitFailed);
  EXPECT_NE(ran.err.find("wrong SHA-256"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "out/adapter/model.bin"));
}

TEST_F(Download, AServerCannotWriteWhereItLikes) {
  serve([this](const Seen& request) { return answer(request); });
  const std::string out = (folder_ / "out").string();
  for (const char* path : {"../escaped", "/abs", "a/../../b", ""}) {
    path_ = path;
    EXPECT_EQ(ratchet({"download", "bot-1", "--out", out.c_str()}).exit, kExitFailed) << path;
  }
  EXPECT_FALSE(fs::exists(folder_ / "escaped"));
}

TEST_F(Commands, WatchSurvivesLostStreamsAndEndsWithTheJob) {
  std::atomic<int> streams = 0;
  std::atomic<bool> over = false;
  const auto event = [](int seq, const std::string& type) {
    return "event: job\nid: " + std::to_string(seq) + "\ndata: " +
           Json{{"type", type}, {"job_seq", seq}, {"occurred_at_ms", 1'763'733'193'000}}.dump() +
           "\n\n";
  };
  auto& server = serve([&](const Seen& request) {
    if (request.target == "/v1/jobs/bot-1") {
      return json_play(
          200, {{"id", "bot-1"},
                {"state", over ? "failed" : "training"},
                {"failure", {{"error_type", "data_error"}, {"message", "Row 3 is empty."}}}});
    }
    Play play{200, "", {{"Content-Type", "text/event-stream"}}, false};
    const int number = ++streams;
    if (number == 1) {
      play.body = event(1, "job.created") + event(2, "job.started") +
                  "event: step\ndata: {\"step\": 1, \"total_steps\": 3, \"loss\": 2.5}\n\n";
      play.cut = true;
    } else if (number == 2) {
      play = error_play(503, "not_ready", "transient");
    } else {
      over = true;
      play.body = event(3, "job.failed");
    }
    return play;
  });
  const Ran ran = ratchet({"watch", "bot-1"});
  EXPECT_EQ(ran.exit, kExitJobFailed) << ran.out << ran.err;
  for (const char* part : {"submitted", "training began", "1/3", "loss 2.5000", "failed",
                           "data_error: Row 3 is empty."}) {
    EXPECT_NE(ran.out.find(part), std::string::npos) << part << " in:\n" << ran.out;
  }
  const auto asked = server.seen("GET /v1/jobs/bot-1/stream");
  ASSERT_EQ(asked.size(), 3U);
  EXPECT_EQ(asked[0].header("Last-Event-ID"), "");
  EXPECT_EQ(asked[1].header("Last-Event-ID"), "2");
  EXPECT_EQ(asked[2].header("Last-Event-ID"), "2");
}

TEST_F(Commands, WatchOfACompletedJobIsShort) {
  serve([](const Seen&) { return json_play(200, {{"id", "bot-1"}, {"state", "completed"}}); });
  EXPECT_EQ(ratchet({"watch", "bot-1"}).exit, 0);
  const Ran ran = ratchet({"watch", "bot-1", "--json"});
  EXPECT_EQ(Json::parse(ran.out)["type"], "job");
}

TEST_F(Commands, CancelOfSeveralTriesAll) {
  auto& server = serve([](const Seen& request) {
    return request.target == "/v1/jobs/a/cancel" ? error_play(404, "job_not_found", "persistent")
                                                 : json_play(202, {{"state", "cancelled"}});
  });
  const Ran ran = ratchet({"cancel", "--yes", "a", "b"});
  EXPECT_EQ(ran.exit, kExitNotFound);
  EXPECT_NE(ran.out.find("b: is being cancelled"), std::string::npos);
  EXPECT_EQ(server.seen("POST").size(), 2U);
}

TEST_F(Commands, ASecretIsTheOnlyThingOnStdoutOrInAPrivateFile) {
  bool lost = false;
  serve([&](const Seen&) {
    return json_play(201, {{"id", "tok-1"}, {"token", lost ? Json() : Json("rt_abc")}});
  });
  EXPECT_EQ(ratchet({"tokens", "create", "--scope", "join"}).out, "rt_abc\n");
  const std::string out = (folder_ / "join.token").string();
  const Ran ran = ratchet({"tokens", "create", "--scope", "join", "--out", out.c_str(), "--json"});
  EXPECT_EQ(ran.out.find("rt_abc"), std::string::npos);
  EXPECT_EQ(read(out), "rt_abc\n");
  struct stat facts{};
  ASSERT_EQ(::stat(out.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  lost = true;
  EXPECT_NE(ratchet({"tokens", "create"}).err.find("ratchet tokens revoke tok-1"),
            std::string::npos);
}

TEST_F(Commands, LoginKeepsAGoodTokenAndNoOther) {
  Play play = json_play(200, {{"items", Json::array()}});
  auto& server = serve([&](const Seen&) { return play; });
  const std::string token = write("token", "good\n");
  ::unsetenv("RATCHET_TOKEN");
  Ran ran = ratchet({"login", server.url().c_str(), "--token-file", token.c_str()});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_EQ(server.seen().back().header("Authorization"), "Bearer good");
  EXPECT_EQ(ran.out.find("good"), std::string::npos);
  ::unsetenv("RATCHET_URL");
  EXPECT_EQ(ratchet({"list"}).exit, 0);
  EXPECT_EQ(server.seen().back().header("Authorization"), "Bearer good");
  play = error_play(401, "unauthenticated", "persistent");
  const std::string before = read(folder_ / "login.json");
  EXPECT_EQ(ratchet({"login", server.url().c_str(), "--token-file", token.c_str()}).exit,
            kExitNotAllowed);
  EXPECT_EQ(read(folder_ / "login.json"), before);
}

TEST_F(Commands, SimulateReclaimFindsTheNode) {
  Json nodes = {{{"id", "n1"}, {"jobs", Json::array()}}, {{"id", "n2"}, {"jobs", {"bot-1"}}}};
  auto& server = serve([&](const Seen& request) {
    return request.target.starts_with("/v1/nodes?")
               ? json_play(200, {{"items", nodes}, {"next_cursor", nullptr}})
               : json_play(202, Json::object());
  });
  EXPECT_EQ(ratchet({"simulate-reclaim", "--lead", "5s"}).exit, 0);
  EXPECT_EQ(ratchet({"simulate-reclaim", "bot-1"}).exit, 0);
  EXPECT_EQ(ratchet({"simulate-reclaim", "n1"}).exit, 0);
  const auto posts = server.seen("POST");
  ASSERT_EQ(posts.size(), 3U);
  EXPECT_EQ(posts[0].target, "/v1/nodes/n2/simulate-reclaim");
  EXPECT_EQ(Json::parse(posts[0].body)["lead_ms"], 5000);
  EXPECT_EQ(posts[1].target, "/v1/nodes/n2/simulate-reclaim");
  EXPECT_EQ(posts[2].target, "/v1/nodes/n1/simulate-reclaim");
  EXPECT_EQ(ratchet({"simulate-reclaim", "nobody"}).exit, kExitNotFound);
  nodes[0]["jobs"] = {"bot-2"};
  EXPECT_EQ(ratchet({"simulate-reclaim"}).exit, kExitNotFound) << "which of the two?";
  EXPECT_EQ(ratchet({"simulate-reclaim", "n1", "--lead", "soon"}).exit, kExitUsage);
}

TEST_F(Commands, LogsOfACompletedJobAreReadToTheirEnd) {
  serve([](const Seen& request) {
    if (request.target == "/v1/jobs/bot-1") {
      return json_play(200, {{"id", "bot-1"}, {"state", "completed"}, {"attempts", 2}});
    }
    const bool newest = request.target.find("attempt=2") != std::string::npos;
    const std::string log = newest ? "line one\nline two\n" : "old\n";
    const auto offset = std::stoul(request.target.substr(request.target.find("offset=") + 7));
    // A piece at a time, as the control plane does.
    return Play{200, log.substr(std::min(offset, log.size()), 9), {}, false};
  });
  EXPECT_EQ(ratchet({"logs", "bot-1"}).out, "line one\nline two\n");
  EXPECT_EQ(ratchet({"logs", "-f", "bot-1"}).out, "line one\nline two\n");
  EXPECT_EQ(ratchet({"logs", "bot-1", "--attempt", "1"}).out, "old\n");
}

}  // namespace
}  // namespace ratchet::control::cli

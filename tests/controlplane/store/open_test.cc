#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <sstream>

#include "controlplane/store/database.h"
#include "controlplane/store/migrations.h"
#include "tests/controlplane/store/store_testing.h"

namespace ratchet::control {
namespace {

class Opening : public StoreTest {
 protected:
  Result<std::unique_ptr<Store>> try_open() {
    SqliteOptions options;
    options.folder = folder_.path();
    return open_sqlite_store(std::move(options));
  }
  void script(const std::string& sql) {
    auto db = Database::open(folder_.path() / "ratchet.db", Database::Mode::kWriter);
    ASSERT_TRUE(db);
    const auto ran = (*db)->script(sql);
    ASSERT_TRUE(ran) << ran.error().message;
  }
};

TEST_F(Opening, ASecondOwnerIsRefusedByTheFirstOnesPid) {
  open();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // The lock came with the fork; the child's own try opens the file anew.
    const auto second = try_open();
    const std::string pid = "pid " + std::to_string(::getppid()) + ")";
    const bool refused = !second && second.error().code == Code::kFailedPrecondition &&
                         second.error().message.find(pid) != std::string::npos;
    ::_exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(try_open());  // nor the same process twice
  close();
  EXPECT_TRUE(try_open());
}

// In a child with a limit on the size of files, as on a full disk: not even the WAL's index has
// room.
TEST_F(Opening, AFullDiskIsSaidAtTheStart) {
  open();
  close();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{16'384, 16'384};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto refused = try_open();
    const bool said = !refused && refused.error().code == Code::kNoSpace &&
                      refused.error().message.find("Free space") != std::string::npos;
    ::_exit(said ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(try_open());
}

TEST_F(Opening, ADatabaseOfANewerVersionIsRefused) {
  open();
  close();
  script("INSERT INTO schema_steps (version, applied_at) VALUES (99, 0)");
  const auto refused = try_open();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("schema 99"), std::string::npos);
}

TEST_F(Opening, GarbageIsNoDatabase) {
  std::ofstream(folder_.path() / "ratchet.db") << std::string(5000, 'x');
  const auto refused = try_open();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
}

TEST_F(Opening, AFixtureOfVersion1Opens) {
  std::ifstream file(std::string(RATCHET_SOURCE_DIR) +
                     "/tests/controlplane/store/fixtures/schema_1.sql");
  std::stringstream sql;
  sql << file.rdbuf();
  ASSERT_GT(sql.str().size(), 1000U);
  script(sql.str());
  open();
  const auto job = store_->jobs().job(JobId("fixture-job"), "default");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->row.head.step, 40);
  EXPECT_EQ(store_->load()->jobs.size(), 1U);
  EXPECT_EQ(store_->events().job_events(job->row.id, 0, 10)->size(), 2U);
  EXPECT_EQ(store_->jobs().attempts(job->row.id)->size(), 1U);
  JobRow next = job->row;
  const auto done = commit(job_batch(next, "job.started"));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->events.front().id, 3);
  EXPECT_EQ(store_->health().schema_version, static_cast<std::int64_t>(schema_steps().size()));
}

TEST_F(Opening, AStepThatFailsLeavesTheVersionBefore) {
  auto db = Database::open(folder_.path() / "own.db", Database::Mode::kWriter);
  ASSERT_TRUE(db);
  constexpr std::array<std::string_view, 2> kFirst{"CREATE TABLE one (a INTEGER);",
                                                   "ALTER TABLE one ADD COLUMN b INTEGER;"};
  ASSERT_TRUE(migrate(**db, kFirst, UnixMillis(1)));
  EXPECT_EQ(*schema_version(**db), 2);
  constexpr std::array<std::string_view, 3> kBroken{
      kFirst[0], kFirst[1], "CREATE TABLE two (a INTEGER); CREATE TABLE one (a INTEGER);"};
  const auto failed = migrate(**db, kBroken, UnixMillis(2));
  ASSERT_FALSE(failed);
  EXPECT_EQ(*schema_version(**db), 2);
  EXPECT_FALSE((*db)->run("SELECT a FROM two"));
  constexpr std::array<std::string_view, 3> kGood{kFirst[0], kFirst[1],
                                                  "CREATE TABLE two (a INTEGER);"};
  EXPECT_TRUE(migrate(**db, kGood, UnixMillis(3)));
  EXPECT_TRUE(migrate(**db, kGood, UnixMillis(4)));
  EXPECT_EQ(*schema_version(**db), 3);
}

TEST_F(Opening, SecretsNeedTheKeyOfTheirFolder) {
  open();
  const WebhookRow row = webhook_row("wh");
  must_write(row);
  EXPECT_EQ(*store_->webhooks().secrets("wh"), row.secrets);
  EXPECT_TRUE(store_->webhooks().webhook("wh", "")->secrets.empty());
  close();
  const auto key = folder_.path() / "store.key";
  struct stat facts{};
  ASSERT_EQ(::stat(key.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600U);
  for (const char* name : {"ratchet.db", "ratchet.db-wal"}) {
    std::ifstream file(folder_.path() / name, std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    EXPECT_EQ(bytes.str().find("secret-of-wh"), std::string::npos) << name;
  }
  open();
  EXPECT_EQ(*store_->webhooks().secrets("wh"), row.secrets);
  close();

  ::chmod(key.c_str(), 0644);
  EXPECT_EQ(try_open().error().code, Code::kFailedPrecondition);
  ::chmod(key.c_str(), 0600);
  std::filesystem::rename(key, folder_.path() / "other.key");
  EXPECT_EQ(try_open().error().code, Code::kCorrupt);
  std::ofstream(key) << std::string(32, 'k');
  ::chmod(key.c_str(), 0600);
  open();
  EXPECT_EQ(store_->webhooks().secrets("wh").error().code, Code::kCorrupt);
}

TEST_F(Opening, WhoLostTheDatabaseMayNotWrite) {
  open();
  script("UPDATE leader SET boot_id = 'another'");
  JobRow job = job_row("a");
  EXPECT_FALSE(commit(job_batch(job, "job.created")));
  EXPECT_FALSE(store_->health().ok);
  EXPECT_FALSE(store_->jobs().job(job.id, ""));
  JobRow other = job_row("b");
  EXPECT_FALSE(commit(job_batch(other, "job.created")));
}

TEST_F(Opening, HealthSaysWhatThereIs) {
  open();
  const auto health = store_->health();
  EXPECT_TRUE(health.ok) << health.message;
  EXPECT_EQ(health.readers, 4);
  EXPECT_EQ(health.readers_idle, 4);
  EXPECT_GT(health.database_size.count() + health.wal_size.count(), 0);
}

}  // namespace
}  // namespace ratchet::control

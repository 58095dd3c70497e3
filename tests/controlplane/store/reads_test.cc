#include <sqlite3.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "controlplane/store/database.h"
#include "tests/controlplane/store/store_testing.h"

namespace ratchet::control {
namespace {

class Reads : public StoreTest {
 protected:
  void fill(int count) {
    Batch batch;
    for (int i = 0; i < count; ++i) {
      // Many share a time, so that the order by id matters.
      JobRow job = job_row("job-" + std::to_string(i), 1000 + i / 7);
      job.name = i % 100 == 0 ? "Fine_Tune 100%" : "other";
      if (i % 3 == 0) job.phase = JobPhase::kSucceeded;
      if (i % 10 != 0) job.spec_json = "{}";
      batch.rows.emplace_back(job);
      if (batch.rows.size() == 1000) must(std::exchange(batch, {}));
    }
    must(std::move(batch));
  }
  // All pages; checks that they are in order and hold nothing twice.
  std::size_t walk(JobQuery query) {
    std::set<std::string> seen;
    std::pair<UnixMillis, std::string> last;
    do {
      const auto page = store_->jobs().jobs(query);
      EXPECT_TRUE(page);
      if (!page) return 0;
      for (const JobView& view : page->items) {
        const std::pair now{view.row.created_at, view.row.id.str()};
        if (!seen.empty()) {
          EXPECT_TRUE(query.order == Order::kNewestFirst ? now < last : now > last);
        }
        last = now;
        EXPECT_TRUE(seen.insert(view.row.id.str()).second);
      }
      query.page.cursor = page->next_cursor;
    } while (!query.page.cursor.empty());
    return seen.size();
  }
};

TEST_F(Reads, TenThousandJobsArePagedWithEveryFilter) {
  open();
  fill(10'000);
  const std::string tenant = "default";
  EXPECT_EQ(walk({.tenant = tenant, .page = {.limit = 999}}), 10'000U);
  EXPECT_EQ(walk({.tenant = tenant, .state = JobState::kCompleted, .page = {.limit = 500}}), 3334U);
  EXPECT_EQ(walk({.phase = JobPhase::kSucceeded,
                  .name = "fine",
                  .order = Order::kOldestFirst,
                  .page = {.limit = 15}}),
            34U);
  EXPECT_EQ(walk({.tenant = tenant, .name = "e_tune 100%", .page = {.limit = 30}}), 100U);
  EXPECT_EQ(walk({.tenant = tenant, .name = "etune", .page = {}}), 0U);
  EXPECT_EQ(walk({.tenant = tenant, .tag = "blue", .page = {.limit = 77}}), 1000U);
  EXPECT_EQ(walk({.tenant = "other", .tag = "blue", .page = {}}), 0U);
  EXPECT_EQ(walk({.tenant = tenant, .run_id = RunId("run-job-17"), .page = {}}), 1U);
  const auto counts = store_->jobs().counts(tenant);
  EXPECT_EQ(counts->at(JobState::kCompleted), 3334);
  EXPECT_EQ(counts->at(JobState::kQueued), 6666);
  for (const char* cursor : {"x", "12", "12_", "12_a b", "_a", "99999999999999999999_a"}) {
    EXPECT_EQ(store_->jobs().jobs({.page = {.cursor = cursor}}).error().code,
              Code::kInvalidArgument)
        << cursor;
  }
}

// Every statement that any connection of the program runs while it is on.
std::mutex recorded_mutex;
std::set<std::string>* recorded = nullptr;

int record(unsigned /*event*/, void* /*context*/, void* statement, void* /*text*/) {
  const std::lock_guard lock(recorded_mutex);
  const char* sql = sqlite3_sql(static_cast<sqlite3_stmt*>(statement));
  if (recorded != nullptr && sql != nullptr) recorded->insert(sql);
  return 0;
}

int trace(sqlite3* db, const char** /*error*/, const struct sqlite3_api_routines* /*api*/) {
  return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, record, nullptr);
}

void run_every_query(Store& store) {
  const std::string tenant = "default";
  const JobId job("job-1");
  const PageRequest second{.limit = 10, .cursor = "1001_job-1"};
  for (const auto order : {Order::kNewestFirst, Order::kOldestFirst}) {
    for (const PageRequest& page : {PageRequest{}, second}) {
      JobQuery query{.tenant = tenant, .order = order, .page = page};
      EXPECT_TRUE(store.jobs().jobs(query));
      query.state = JobState::kQueued;
      EXPECT_TRUE(store.jobs().jobs(query));
      query.state.reset();
      query.tag = "blue";
      EXPECT_TRUE(store.jobs().jobs(query));
      query.tag.clear();
      query.run_id = RunId("run");
      EXPECT_TRUE(store.jobs().jobs(query));
    }
  }
  EXPECT_TRUE(store.jobs().job(job, tenant));
  EXPECT_TRUE(store.jobs().attempts(job));
  EXPECT_TRUE(store.jobs().interruptions(job));
  EXPECT_TRUE(store.jobs().checkpoints(job));
  EXPECT_TRUE(store.jobs().counts(tenant));
  EXPECT_TRUE(store.jobs().nodes(tenant, true));
  EXPECT_TRUE(store.load());
  EXPECT_TRUE(store.events().job_events(job, 0, 10));
  EXPECT_TRUE(store.events().events({.tenant = tenant}));
  EXPECT_TRUE(store.events().events({.tenant = tenant, .type = "job.failed"}));
  EXPECT_TRUE(store.events().events({}));
  EXPECT_TRUE(store.events().metrics(job, 0, 10));
  EXPECT_TRUE(store.events().last_metric(job));
  EXPECT_TRUE(store.events().evaluations(job));
  EXPECT_TRUE(store.events().lines(job, 1, 0, 10));
  EXPECT_TRUE(store.webhooks().due(UnixMillis(9999), 10));
  EXPECT_TRUE(store.webhooks().next_due());
  EXPECT_TRUE(store.webhooks().backlog());
  EXPECT_TRUE(store.webhooks().deliveries({.tenant = tenant}));
  EXPECT_TRUE(store.webhooks().deliveries({.webhook_id = "wh"}));
  EXPECT_TRUE(store.accounts().tokens(tenant, second));
  EXPECT_FALSE(store.accounts().token_by_sha256("a"));
  EXPECT_TRUE(store.accounts().error_logs(tenant, second));
  EXPECT_TRUE(store.accounts().idempotency(tenant, "key", UnixMillis(1)));
  EXPECT_TRUE(store.artifacts().artifacts({.tenant = tenant, .page = second}));
  EXPECT_TRUE(store.artifacts().files("art"));
  EXPECT_TRUE(store.artifacts().digests(tenant, "art"));
  EXPECT_TRUE(store.artifacts().needed());
  EXPECT_TRUE(store.retain({.events_before = UnixMillis(5),
                            .deliveries_before = UnixMillis(5),
                            .errors_before = UnixMillis(5),
                            .idempotency_before = UnixMillis(5)}));
}

TEST_F(Reads, NoQueryScansATableThatGrows) {
  std::set<std::string> statements;
  ASSERT_EQ(sqlite3_auto_extension(reinterpret_cast<void (*)()>(trace)), SQLITE_OK);
  open();
  fill(50);
  must_write(webhook_row("wh"));
  JobRow job = job_row("with-event");
  must(job_batch(job, "job.created"));
  {
    const std::lock_guard lock(recorded_mutex);
    recorded = &statements;
  }
  run_every_query(*store_);
  must(job_batch(job, "job.failed"));
  must_write(UpdateDelivery{store_->webhooks().due(UnixMillis(9999), 1)->front().delivery});
  {
    const std::lock_guard lock(recorded_mutex);
    recorded = nullptr;
  }
  sqlite3_reset_auto_extension();
  ASSERT_GT(statements.size(), 50U);

  // Scans of a partial index touch what is live or open only.
  const std::set<std::string> partial{"jobs_live",      "jobs_results",     "attempts_open",
                                      "nodes_here",     "intents_open",     "checkpoints_kept",
                                      "deliveries_due", "deliveries_order", "events_jobless"};
  const std::set<std::string> growing{"jobs",      "attempts",       "events",      "trainer_lines",
                                      "metrics",   "deliveries",     "checkpoints", "interruptions",
                                      "job_specs", "job_tags",       "tokens",      "error_logs",
                                      "artifacts", "artifact_files", "idempotency", "evaluations"};
  auto db = Database::open(folder_.path() / "ratchet.db", Database::Mode::kReader);
  ASSERT_TRUE(db);
  int plans = 0;
  for (const std::string& sql : statements) {
    const bool sorted =
        sql.find("FROM jobs") != std::string::npos && sql.find("LIMIT") != std::string::npos;
    if (!sql.starts_with("SELECT") && !sql.starts_with("DELETE") && !sql.starts_with("UPDATE")) {
      continue;
    }
    std::vector<Value> values(static_cast<std::size_t>(std::count(sql.begin(), sql.end(), '?')),
                              Value(nullptr));
    Query plan(**db, "EXPLAIN QUERY PLAN " + sql, values);
    while (plan.next()) {
      ++plans;
      const std::string detail = plan.text(3);
      EXPECT_FALSE(sorted && detail == "USE TEMP B-TREE FOR ORDER BY") << sql;
      if (!detail.starts_with("SCAN ")) continue;
      const std::string rest = detail.substr(5);
      const std::string table = rest.substr(0, rest.find(' '));
      const std::string index =
          rest.find("INDEX ") == std::string::npos ? "" : rest.substr(rest.find("INDEX ") + 6);
      // Without a tenant, all events are read in the order of their ids.
      if (sql.find("FROM events WHERE id > ?") != std::string::npos) continue;
      EXPECT_TRUE(!growing.contains(table) || partial.contains(index)) << detail << "\n" << sql;
    }
    EXPECT_TRUE(plan.status()) << plan.status().error().message;
  }
  EXPECT_GT(plans, 60);
  // The word that is looked for is the one SQLite uses.
  Query scan(**db, "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE doc = ?", {"x"});
  ASSERT_TRUE(scan.next());
  EXPECT_EQ(scan.text(3), "SCAN jobs");
}

TEST_F(Reads, ArtifactsAreListedByTenant) {
  open();
  must_write(TenantRow{"other", "Other", UnixMillis(1)});
  for (int i = 0; i < 5; ++i) {
    PutArtifact put;
    put.row.id = "art_" + std::to_string(i);
    put.row.tenant = i == 4 ? "other" : "default";
    put.row.kind = i == 0 ? ArtifactKind::kDataset : ArtifactKind::kFile;
    put.row.created_at = UnixMillis(100 + i);
    put.files = {{"b", 2, std::string(64, 'b')}, {"a/x", 1, std::string(64, 'a')}};
    must_write(put);
    EXPECT_EQ(write(put).error().code, Code::kAlreadyExists);
  }
  auto page = store_->artifacts().artifacts({.tenant = "default", .page = {.limit = 3}});
  ASSERT_EQ(page->items.size(), 3U);
  EXPECT_EQ(page->items.front().id, "art_3");
  page = store_->artifacts().artifacts(
      {.tenant = "default", .page = {.limit = 3, .cursor = page->next_cursor}});
  ASSERT_EQ(page->items.size(), 1U);
  EXPECT_EQ(page->items.front().kind, ArtifactKind::kDataset);
  EXPECT_TRUE(page->next_cursor.empty());
  EXPECT_EQ(store_->artifacts().files("art_1")->front().path, "a/x");
  EXPECT_EQ(store_->artifacts().file("art_1", "b")->bytes, 2);
  EXPECT_EQ(store_->artifacts().file("art_1", "c").error().code, Code::kNotFound);
  EXPECT_EQ(store_->artifacts().artifact("art_4", "default").error().code, Code::kNotFound);
  must_write(DeleteArtifact{"art_1"});
  EXPECT_TRUE(store_->artifacts().files("art_1")->empty());
  EXPECT_EQ(store_->artifacts().digests("default", "art_2")->size(), 2U);
}

}  // namespace
}  // namespace ratchet::control

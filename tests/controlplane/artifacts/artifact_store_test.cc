#include "controlplane/artifacts/artifact_store.h"

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <thread>

#include "controlplane/artifacts/sha256.h"
#include "tests/controlplane/store/store_testing.h"

namespace ratchet::control {
namespace {

constexpr const char* kTenant = "default";
constexpr UnixMillis kDelay{2 * 3600 * 1000};

std::string digest(std::string_view text) {
  Sha256 hash;
  hash.add(text);
  return hash.hex();
}

ArtifactFile file_of(const std::string& path, std::string_view content) {
  return {path, static_cast<std::int64_t>(content.size()), digest(content)};
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class Artifacts : public StoreTest {
 protected:
  void SetUp() override { start(); }
  void start() {
    if (!store_) open();
    ArtifactOptions options;
    options.folder = folder_.path() / "artifacts";
    options.reserve = Bytes(1000);
    options.tombstone_delay = kDelay;
    options.now = [this] { return now_; };
    options.free_bytes = [this](const auto&) -> Result<Bytes> { return free_; };
    options.at_point = [this](std::string_view point) {
      if (crash_at_ == point) ::_exit(42);
    };
    auto opened = ArtifactStore::open(std::move(options), *store_);
    ASSERT_TRUE(opened) << opened.error().message;
    artifacts_ = std::move(*opened);
  }
  void restart() {
    artifacts_.reset();
    close();
    start();
  }
  std::string create(std::vector<ArtifactFile> files, const std::string& tenant = kTenant) {
    const auto made = artifacts_->create({ArtifactKind::kDataset, std::move(files)}, tenant, "me");
    EXPECT_TRUE(made) << made.error().message;
    return made ? made->row.id : std::string();
  }
  Result<FileStatus> send(const std::string& id, const std::string& path, std::int64_t offset,
                          std::string_view content) {
    auto upload = artifacts_->upload(id, kTenant, path, offset);
    if (!upload) return upload.error();
    if (auto written = (*upload)->write(bytes(content)); !written) return written.error();
    return (*upload)->finish();
  }
  std::string whole(const std::string& path, std::string_view content) {
    const std::string id = create({file_of(path, content)});
    EXPECT_TRUE(send(id, path, 0, content));
    EXPECT_TRUE(artifacts_->seal(id, kTenant));
    return id;
  }
  std::string read(const std::string& id, const std::string& path) {
    const auto reader = artifacts_->read(id, kTenant, path);
    if (!reader) return "error: " + reader.error().message;
    std::string out(static_cast<std::size_t>(reader->file().bytes), '\0');
    const auto got = reader->read(0, std::as_writable_bytes(std::span(out.data(), out.size())));
    EXPECT_EQ(*got, out.size());
    return out;
  }
  std::size_t files_on_disk() {
    std::size_t count = 0;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(folder_.path() / "artifacts")) {
      count += entry.is_regular_file() ? 1 : 0;
    }
    return count;
  }

  UnixMillis now_{1'000'000};
  Bytes free_ = mebibytes(100);
  std::string crash_at_;
  std::unique_ptr<ArtifactStore> artifacts_;
};

TEST_F(Artifacts, AnUploadThatBreaksGoesOnWhereItWas) {
  const std::string content = "0123456789abcdef";
  const std::string id = create({file_of("data/train.jsonl", content)});
  {
    auto upload = artifacts_->upload(id, kTenant, "data/train.jsonl", 0);
    ASSERT_TRUE(upload);
    ASSERT_TRUE((*upload)->write(bytes(content.substr(0, 5))));
  }
  EXPECT_EQ(artifacts_->file_status(id, kTenant, "data/train.jsonl")->received, 5);
  EXPECT_EQ(send(id, "data/train.jsonl", 3, "345").error().code, Code::kFailedPrecondition);
  EXPECT_EQ(artifacts_->seal(id, kTenant).error().code, Code::kFailedPrecondition);
  auto part = send(id, "data/train.jsonl", 5, content.substr(5, 4));
  ASSERT_TRUE(part);
  EXPECT_FALSE(part->complete);
  restart();  // the hash so far is gone with the process
  part = send(id, "data/train.jsonl", 9, content.substr(9));
  ASSERT_TRUE(part) << part.error().message;
  EXPECT_TRUE(part->complete);
  ASSERT_TRUE(artifacts_->seal(id, kTenant));
  ASSERT_TRUE(artifacts_->seal(id, kTenant));
  EXPECT_EQ(read(id, "data/train.jsonl"), content);
  EXPECT_EQ(artifacts_->status(id, kTenant)->row.state, ArtifactState::kSealed);
  EXPECT_EQ(send(id, "data/train.jsonl", 16, "").error().code, Code::kFailedPrecondition);
}

TEST_F(Artifacts, AWrongDigestDiscardsTheBytes) {
  const std::string id = create({file_of("a", "right")});
  const auto wrong = send(id, "a", 0, "wrong");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kCorrupt);
  EXPECT_NE(wrong.error().message.find(digest("wrong")), std::string::npos);
  EXPECT_EQ(artifacts_->file_status(id, kTenant, "a")->received, 0);
  EXPECT_EQ(files_on_disk(), 0U);
  EXPECT_TRUE(send(id, "a", 0, "right"));
  EXPECT_EQ(send(id, "a", 0, "right").error().code, Code::kFailedPrecondition);
  EXPECT_TRUE(send(id, "a", 5, ""));
  EXPECT_EQ(send(id, "a", 5, "more").error().code, Code::kInvalidArgument);
}

// What answers a request may keep the upload a moment longer than its answer takes to arrive.
TEST_F(Artifacts, AFinishedUploadHoldsNothing) {
  const std::string id = create({file_of("a", "right")});
  std::vector<std::unique_ptr<Upload>> kept;
  for (const char* content : {"wrong", "righ", "t"}) {
    const std::int64_t offset = artifacts_->file_status(id, kTenant, "a")->received;
    auto upload = artifacts_->upload(id, kTenant, "a", offset);
    ASSERT_TRUE(upload) << upload.error().message;
    ASSERT_TRUE((*upload)->write(bytes(content)));
    const auto finished = (*upload)->finish();
    EXPECT_EQ(finished.has_value(), std::string_view(content) != "wrong");
    kept.push_back(*std::move(upload));
  }
  EXPECT_TRUE(artifacts_->file_status(id, kTenant, "a")->complete);
}

TEST_F(Artifacts, MoreBytesThanPromisedAreRefused) {
  const std::string id = create({file_of("a", "right")});
  EXPECT_EQ(send(id, "a", 0, "right and more").error().code, Code::kInvalidArgument);
  EXPECT_EQ(artifacts_->file_status(id, kTenant, "a")->received, 0);
}

TEST_F(Artifacts, PathsThatLeadOutAreRefused) {
  for (const char* path : {"", "/etc/passwd", "../a", "a/../../b", "a/..", ".", "./a", "a//b", "a/",
                           "a\\b", "a\nb", "..", "a/./b"}) {
    Manifest manifest{ArtifactKind::kFile, {file_of(path, "x")}};
    EXPECT_EQ(artifacts_->create(manifest, kTenant, "me").error().code, Code::kInvalidArgument)
        << path;
  }
  for (const auto& files :
       std::vector<std::vector<ArtifactFile>>{{},
                                              {file_of("a", "x"), file_of("a", "y")},
                                              {file_of("a", "x"), file_of("a/b", "y")},
                                              {{"a", -1, digest("x")}},
                                              {{"a", 1, "abc"}},
                                              {{"a", 1, std::string(64, 'A')}},
                                              {{"a", 0, digest("x")}},
                                              {{"a", 1, digest("x")}, {"b", 2, digest("x")}},
                                              {{std::string(600, 'a'), 1, digest("x")}}}) {
    EXPECT_FALSE(check_manifest({ArtifactKind::kFile, files}));
  }
  EXPECT_EQ(
      artifacts_->create({ArtifactKind::kFile, {file_of("a", "x")}}, "../up", "me").error().code,
      Code::kInvalidArgument);
  EXPECT_TRUE(check_manifest({ArtifactKind::kFile, {file_of("a..b/...c", "x")}}));
  EXPECT_EQ(files_on_disk(), 0U);
}

TEST_F(Artifacts, TheSameManifestIsTheSameArtifactOfATenant) {
  must_write(TenantRow{"other", "Other", UnixMillis(1)});
  const ArtifactFile a = file_of("a", "one");
  const ArtifactFile b = file_of("b", "two");
  const std::string id = create({a, b});
  EXPECT_EQ(create({b, a}), id);
  EXPECT_EQ(id.size(), 36U);
  EXPECT_NE(create({a, b}, "other"), id);
  EXPECT_NE(create({a}), id);
  EXPECT_EQ(artifacts_->status(id, "other").error().code, Code::kNotFound);
  EXPECT_EQ(artifacts_->status(id, "").error().code, Code::kNotFound);
  EXPECT_EQ(artifacts_->upload(id, "other", "a", 0).error().code, Code::kNotFound);
  EXPECT_EQ(artifacts_->read(id, "other", "a").error().code, Code::kNotFound);
  // Content is shared inside the tenant only.
  EXPECT_TRUE(send(id, "a", 0, "one"));
  EXPECT_TRUE(artifacts_->file_status(create({a}), kTenant, "a")->complete);
  EXPECT_FALSE(artifacts_->file_status(create({a}, "other"), "other", "a")->complete);
}

TEST_F(Artifacts, ConcurrentUploadsOfOneContentDoNotMix) {
  std::string content(1 << 20, 'x');
  for (std::size_t i = 0; i < content.size(); i += 997)
    content[i] = static_cast<char>('a' + i % 26);
  const std::string first = create({file_of("a", content)});
  const std::string second = create({file_of("b", content)});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const std::string& id = i % 2 == 0 ? first : second;
      const std::string path = i % 2 == 0 ? "a" : "b";
      for (int tries = 0; tries < 10'000; ++tries) {
        const auto status = artifacts_->file_status(id, kTenant, path);
        if (status->complete) return;
        auto upload = artifacts_->upload(id, kTenant, path, status->received);
        if (!upload) {
          EXPECT_EQ(upload.error().code, Code::kFailedPrecondition);
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          continue;
        }
        const auto offset = static_cast<std::size_t>(status->received);
        if (offset == content.size()) {
          EXPECT_TRUE((*upload)->finish());
          continue;
        }
        EXPECT_TRUE((*upload)->write(bytes(std::string_view(content).substr(offset, 100'000))));
        EXPECT_TRUE((*upload)->finish());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(read(first, "a"), content);
  EXPECT_EQ(read(second, "b"), content);
  EXPECT_EQ(files_on_disk(), 1U);
}

TEST_F(Artifacts, AFullDiskIsSaidAndTheUploadGoesOnLater) {
  const std::string content(3000, 'x');
  free_ = Bytes(3500);
  EXPECT_EQ(artifacts_->create({ArtifactKind::kFile, {file_of("a", content)}}, kTenant, "me")
                .error()
                .code,
            Code::kNoSpace);
  free_ = Bytes(10'000);
  const std::string id = create({file_of("a", content)});
  {
    auto upload = artifacts_->upload(id, kTenant, "a", 0);
    ASSERT_TRUE((*upload)->write(bytes(content.substr(0, 2000))));
    free_ = Bytes(1500);
    EXPECT_EQ((*upload)->write(bytes(content.substr(2000))).error().code, Code::kNoSpace);
    EXPECT_FALSE(artifacts_->space()->full());
  }
  EXPECT_EQ(artifacts_->file_status(id, kTenant, "a")->received, 2000);
  free_ = Bytes(1000);
  EXPECT_TRUE(artifacts_->space()->full());
  free_ = Bytes(10'000);
  EXPECT_TRUE(send(id, "a", 2000, content.substr(2000))->complete);
}

TEST_F(Artifacts, WhatNobodyNeedsGoesAfterTheDelay) {
  const std::string id = whole("a", "content");
  const std::string pinned = whole("b", "other");
  ASSERT_TRUE(artifacts_->pin(pinned, kTenant, true));
  EXPECT_EQ(artifacts_->collect({})->tombstoned, 1);
  now_ += kDelay - UnixMillis(1);
  EXPECT_EQ(artifacts_->collect({})->removed, 0);
  const std::vector<std::string> ids{id};
  ASSERT_TRUE(artifacts_->keep(ids, kTenant));  // a submit lifts the tombstone
  now_ += UnixMillis(1);
  EXPECT_EQ(artifacts_->collect({})->removed, 0);
  now_ += kDelay;
  auto reader = artifacts_->read(id, kTenant, "a");
  ASSERT_TRUE(reader);
  const auto report = artifacts_->collect({});
  EXPECT_EQ(report->removed, 1);
  EXPECT_EQ(report->removed_bytes, 7);
  EXPECT_EQ(artifacts_->status(id, kTenant).error().code, Code::kNotFound);
  EXPECT_EQ(artifacts_->keep(ids, kTenant).error().code, Code::kNotFound);
  std::byte first{};
  EXPECT_EQ(*reader->read(0, std::span(&first, 1)), 1U);  // whoever reads goes on reading
  EXPECT_EQ(files_on_disk(), 1U);
  EXPECT_EQ(read(pinned, "b"), "other");
}

TEST_F(Artifacts, AnUploadUnderWayIsNotCollected) {
  const std::string id = create({file_of("a", "content")});
  EXPECT_EQ(artifacts_->collect({})->tombstoned, 1);
  auto upload = artifacts_->upload(id, kTenant, "a", 0);
  EXPECT_EQ(artifacts_->collect({})->tombstoned, 1);  // the upload had lifted it
  now_ += kDelay + kDelay;
  EXPECT_EQ(artifacts_->collect({})->removed, 0);
  ASSERT_TRUE((*upload)->write(bytes("content")));
  EXPECT_TRUE((*upload)->finish()->complete);
  upload->reset();
  EXPECT_EQ(read(id, "a"), "content");
}

// Random artifacts over few contents, random needs and jumps of time: what is needed can be read.
TEST_F(Artifacts, CollectingNeverTakesWhatIsNeeded) {
  std::mt19937 random(5);
  const auto below = [&](int limit) {
    return std::uniform_int_distribution<int>(0, limit - 1)(random);
  };
  std::map<std::string, std::vector<std::pair<std::string, std::string>>> alive;
  int removed = 0;
  for (int round = 0; round < 100; ++round) {
    std::map<std::string, std::string> files;
    for (int i = 0; i < 1 + below(3); ++i) {
      files["f" + std::to_string(below(3))] = "content " + std::to_string(below(6));
    }
    std::vector<ArtifactFile> manifest;
    for (const auto& [path, content] : files) manifest.push_back(file_of(path, content));
    const std::string id = create(manifest);
    for (const auto& [path, content] : files) {
      const auto status = artifacts_->file_status(id, kTenant, path);
      if (!status->complete) {
        EXPECT_TRUE(send(id, path, status->received, content));
      }
    }
    ASSERT_TRUE(artifacts_->seal(id, kTenant));
    alive[id].assign(files.begin(), files.end());

    std::set<std::string> needed;
    for (const auto& [known, content] : alive) {
      if (below(3) == 0) needed.insert(known);
    }
    now_ += UnixMillis(below(2) * kDelay.count());
    if (round % 30 == 29) restart();
    removed += static_cast<int>(artifacts_->collect(needed)->removed);
    for (auto entry = alive.begin(); entry != alive.end();) {
      const bool there = artifacts_->status(entry->first, kTenant).has_value();
      if (needed.contains(entry->first)) {
        EXPECT_TRUE(there);
      }
      if (there) {
        for (const auto& [path, content] : entry->second)
          EXPECT_EQ(read(entry->first, path), content);
      }
      entry = there ? std::next(entry) : alive.erase(entry);
    }
  }
  EXPECT_GT(removed, 15);
  EXPECT_TRUE(artifacts_->reconciled().damaged.empty());
  EXPECT_EQ(artifacts_->reconciled().stray_files, 0);
}

TEST_F(Artifacts, DamageIsFoundAndMendedByAnotherUpload) {
  const std::string id = whole("a", "content");
  const auto blob =
      folder_.path() / "artifacts" / kTenant / "blobs" / digest("content").substr(0, 2);
  std::filesystem::remove(blob / digest("content"));
  std::ofstream(blob / digest("stray")) << "stray";
  std::ofstream(blob / "note.txt") << "not ours";
  restart();
  EXPECT_EQ(artifacts_->reconciled().damaged, std::vector{id});
  EXPECT_EQ(artifacts_->reconciled().stray_files, 1);
  EXPECT_TRUE(std::filesystem::exists(blob / "note.txt"));
  EXPECT_EQ(artifacts_->status(id, kTenant)->row.state, ArtifactState::kOpen);
  EXPECT_TRUE(send(id, "a", 0, "content"));
  EXPECT_TRUE(artifacts_->seal(id, kTenant));
}

// A child does all that an artifact can go through and dies at the given point; afterwards the
// folder and the store agree and the same work can be done again.
TEST_F(Artifacts, ACrashAtAnyPointIsSurvived) {
  artifacts_.reset();
  close();
  int crashed = 0;
  for (const char* point :
       {"create: before the commit", "create: committed", "publish: synced", "publish: renamed",
        "upload: published", "seal: before the commit", "seal: committed", "remove: marked",
        "remove: a file is gone", "remove: done"}) {
    const std::string content = std::string("of ") + point;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      start();
      crash_at_ = point;
      const std::string id = whole("a", content);
      (void)artifacts_->collect({}).has_value();
      now_ += kDelay;
      (void)artifacts_->collect({}).has_value();
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    crashed += WEXITSTATUS(status) == 42 ? 1 : 0;
    start();
    EXPECT_TRUE(artifacts_->reconciled().damaged.empty()) << point;
    const std::string id = create({file_of("a", content)});
    const auto file = artifacts_->file_status(id, kTenant, "a");
    if (!file->complete) {
      const auto rest = content.substr(static_cast<std::size_t>(file->received));
      EXPECT_TRUE(send(id, "a", file->received, rest)) << point;
    }
    EXPECT_TRUE(artifacts_->seal(id, kTenant)) << point;
    EXPECT_EQ(read(id, "a"), content) << point;
    EXPECT_EQ(artifacts_->collect({})->tombstoned, 1) << point;
    now_ += kDelay;
    EXPECT_EQ(artifacts_->collect({})->removed, 1) << point;
    EXPECT_EQ(files_on_disk(), 0U) << point;
    artifacts_.reset();
    close();
  }
  EXPECT_EQ(crashed, 10);
}

}  // namespace
}  // namespace ratchet::control

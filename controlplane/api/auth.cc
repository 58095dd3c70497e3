#include "controlplane/api/auth.h"

#include <algorithm>

#include "controlplane/service/blocking.h"
#include "controlplane/service/secrets.h"

namespace ratchet::control {

namespace {

constexpr UnixMillis kUseEvery{60000};
constexpr std::size_t kMaxToken = 512;

bool is_valid(const TokenRow& row, UnixMillis now) {
  return !row.revoked_at && (!row.expires_at || *row.expires_at > now);
}

ApiError refused() {
  return problem(ApiErrorCode::kUnauthenticated,
                 "The token is unknown, has expired or was revoked.");
}

}  // namespace

bool may(Access has, Access needs) {
  switch (needs) {
    case Access::kOpen:
      return true;
    case Access::kUser:
      return has == Access::kUser || has == Access::kAdmin;
    case Access::kAdmin:
      return has == Access::kAdmin;
    case Access::kTransfer:
      return has == Access::kUser || has == Access::kAdmin || has == Access::kAgent;
    case Access::kAgent:
      return has == Access::kAgent;
    case Access::kJoin:
      return has == Access::kJoin || has == Access::kAgent;
  }
  return false;
}

Access access_of(const TokenRow& row) {
  const auto has = [&](std::string_view scope) {
    return std::find(row.scopes.begin(), row.scopes.end(), scope) != row.scopes.end();
  };
  if (has("admin")) return Access::kAdmin;
  if (has("user")) return Access::kUser;
  if (has("agent")) return Access::kAgent;
  if (has("join")) return Access::kJoin;
  return Access::kOpen;
}

boost::asio::awaitable<std::variant<Identity, ApiError>> TokenCache::identify(std::string token,
                                                                              UnixMillis now) {
  if (token.empty()) {
    co_return problem(ApiErrorCode::kUnauthenticated, "The request carries no bearer token.");
  }
  if (token.size() > kMaxToken) co_return refused();
  const auto digest = sha256_hex(token);
  if (!by_digest_.contains(digest)) {
    std::function<Result<TokenRow>()> find = [this, digest] {
      return store_.accounts().token_by_sha256(digest);
    };
    const auto row = co_await run_in(pool_, std::move(find));
    if (!row && row.error().code == Code::kNotFound) co_return refused();
    if (!row) co_return problem_of(row.error());
    // Another request may have read it, or a revocation written it, while this one waited.
    if (!by_digest_.contains(digest)) put(*row);
  }
  const auto& row = by_digest_.at(digest).row;
  if (!is_valid(row, now)) co_return refused();
  co_return Identity{.token_id = row.id,
                     .name = row.name,
                     .tenant = row.tenant,
                     .node_id = row.node_id,
                     .access = access_of(row)};
}

void TokenCache::put(const TokenRow& row) {
  if (by_digest_.size() >= kMaxEntries) {
    by_digest_.clear();
    digest_of_.clear();
  }
  by_digest_[row.sha256].row = row;
  digest_of_[row.id] = row.sha256;
}

RateState TokenCache::take(const Identity& who) {
  const bool agent = who.access == Access::kAgent;
  const double per_second = agent ? limits_.agent_per_second : limits_.per_second;
  RateState out{.limit = static_cast<std::int64_t>(per_second), .wait_s = 0};
  const auto found = digest_of_.find(who.token_id);
  if (found == digest_of_.end()) return out;
  auto& bucket = by_digest_.at(found->second).bucket;
  const auto now = net::TokenBucket::Clock::now();
  if (!bucket) bucket.emplace(per_second, agent ? per_second * 2 : limits_.burst, now);
  if (!bucket->take(now))
    out.wait_s = std::max<std::int64_t>(1, (bucket->wait_for(now).count() + 999) / 1000);
  return out;
}

bool TokenCache::use_is_due(const std::string& token_id, UnixMillis now) {
  const auto found = digest_of_.find(token_id);
  if (found == digest_of_.end()) return false;
  auto& entry = by_digest_.at(found->second);
  if (now - entry.used_at < kUseEvery && now >= entry.used_at) return false;
  entry.used_at = now;
  return true;
}

}  // namespace ratchet::control

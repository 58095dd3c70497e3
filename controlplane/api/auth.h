#pragma once

// Who calls: bearer tokens, by their digests. On the loop's thread.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "controlplane/api/call.h"
#include "controlplane/store/store.h"
#include "proto/net/retry.h"

namespace ratchet::control {

// Whether somebody with `has` may call a route that needs `needs`.
bool may(Access has, Access needs);
Access access_of(const TokenRow& row);

struct Limits {
  double per_second = 100;
  double burst = 400;
  double agent_per_second = 200;
};

struct RateState {  // for the answer's headers
  std::int64_t limit = 0;
  std::int64_t wait_s = 0;  // above 0: refused
};

class TokenCache {
 public:
  TokenCache(Store& store, boost::asio::thread_pool& pool, Limits limits)
      : store_(store), pool_(pool), limits_(limits) {}

  // unauthenticated when there is no such token, or it is expired or revoked.
  boost::asio::awaitable<std::variant<Identity, ApiError>> identify(std::string token,
                                                                    UnixMillis now);
  // Takes one request off the token's budget.
  RateState take(const Identity& who);
  // Call after a token's row was written.
  void put(const TokenRow& row);
  // Whether its use should be written down now (once a minute).
  bool use_is_due(const std::string& token_id, UnixMillis now);

 private:
  struct Entry {
    TokenRow row;
    UnixMillis used_at{0};
    std::optional<net::TokenBucket> bucket;
  };
  static constexpr std::size_t kMaxEntries = 50000;

  Store& store_;
  boost::asio::thread_pool& pool_;
  Limits limits_;
  std::map<std::string, Entry> by_digest_;
  std::map<std::string, std::string> digest_of_;  // token id -> digest
};

}  // namespace ratchet::control

#include "controlplane/store/store.h"

#include <future>

namespace ratchet::control {

Result<CommitInfo> commit_and_wait(Store& store, Batch batch) {
  std::promise<Result<CommitInfo>> promise;
  auto future = promise.get_future();
  store.commit(std::move(batch),
               [&promise](Result<CommitInfo> result) { promise.set_value(std::move(result)); });
  return future.get();
}

}  // namespace ratchet::control

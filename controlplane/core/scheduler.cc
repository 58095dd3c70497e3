#include "controlplane/core/scheduler.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>

namespace ratchet::control {

namespace {

bool contains_word(std::string_view text, std::string_view part) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) ==
           std::tolower(static_cast<unsigned char>(b));
  };
  return std::ranges::search(text, part, same).begin() != text.end() || part.empty();
}

bool price_suits(PriceClass wanted, NodePrice price, bool any_price) {
  if (price == NodePrice::kOwned || any_price) return true;
  return (wanted == PriceClass::kSpot) == (price == NodePrice::kSpot);
}

std::int64_t gpus_that_suit(const Requirements& needs, const NodeFacts& facts) {
  return std::ranges::count_if(facts.gpus, [&](const GpuFacts& gpu) {
    return contains_word(gpu.name, needs.gpu_type) && gpu.memory_total >= needs.gpu_memory;
  });
}

bool needs_gpu(const Requirements& needs) {
  return needs.kind == DeviceKind::kCuda || !needs.gpu_type.empty() || needs.gpu_memory > Bytes(0);
}

// Jobs with equal wishes fit equally: when one does not, the others need not be tried.
struct Wish {
  const JobAsk* ask;

  // Borrowed, not copied: with thousands of jobs in the queue the copies would be the cost.
  [[nodiscard]] auto parts() const {
    const JobRow& job = *ask->job;
    return std::tie(job.tenant, job.needs.kind, job.needs.count, job.needs.gpu_type,
                    job.needs.gpu_memory, job.needs.price, ask->any_price, job.avoid_nodes);
  }
  bool operator<(const Wish& other) const { return parts() < other.parts(); }
};

bool is_avoided(const JobRow& job, const NodeRow& node) {
  return std::ranges::find(job.avoid_nodes, node.id) != job.avoid_nodes.end();
}

struct Choice {
  std::size_t node = 0;
  std::int64_t slots = 0;
};

// Lower is better: a GPU for whom it suits, no GPU wasted, owned nodes, idle nodes, tight fits.
using Rank = std::tuple<bool, bool, bool, double, std::int64_t, std::string_view>;
Rank rank_of(const Requirements& needs, const NodeOffer& offer, std::int64_t slots) {
  const NodeFacts& facts = offer.node->facts;
  const bool gpu = !facts.gpus.empty();
  const bool mismatch = needs.kind == DeviceKind::kCpu ? gpu : !gpu;
  return {mismatch,
          !offer.idle,
          facts.price != NodePrice::kOwned,
          facts.usd_per_hour,
          offer.free_slots - slots,
          offer.node->id};
}

std::optional<Choice> choose(const JobAsk& ask, std::span<const NodeOffer> nodes,
                             std::span<const std::int64_t> free, std::span<const char> touched) {
  const JobRow& job = *ask.job;
  std::optional<Choice> best;
  std::optional<Choice> best_avoided;
  bool other_node_exists = false;
  const auto better = [&](std::size_t a, const std::optional<Choice>& b) {
    NodeOffer mine = nodes[a];
    mine.free_slots = free[a];
    mine.idle = mine.idle && touched[a] == 0;
    if (!b) return true;
    NodeOffer other = nodes[b->node];
    other.free_slots = free[b->node];
    other.idle = other.idle && touched[b->node] == 0;
    return rank_of(job.needs, mine, 0) < rank_of(job.needs, other, 0);
  };
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const NodeRow& node = *nodes[i].node;
    if (!node.tenant.empty() && node.tenant != job.tenant) continue;
    const std::int64_t slots = slots_on(job.needs, node.facts, ask.any_price);
    if (slots == 0) continue;
    const bool avoided = is_avoided(job, node);
    other_node_exists |= !avoided;
    if (slots > free[i]) continue;
    std::optional<Choice>& into = avoided ? best_avoided : best;
    if (better(i, into)) into = Choice{i, slots};
  }
  // A node that failed the job before is better than none for ever.
  return best || other_node_exists ? best : best_avoided;
}

}  // namespace

std::int64_t slots_on(const Requirements& needs, const NodeFacts& facts, bool any_price) {
  if (!price_suits(needs.price, facts.price, any_price)) return 0;
  const std::int64_t count = std::max<std::int64_t>(needs.count, 1);
  if (facts.gpus.empty()) {
    return needs_gpu(needs) || facts.slots < 1 ? 0 : 1;
  }
  if (needs.kind == DeviceKind::kCpu) return facts.slots < 1 ? 0 : 1;
  if (gpus_that_suit(needs, facts) < count || facts.slots < count) return 0;
  return count;
}

bool could_offer(const Requirements& needs, const Requirements& offers) {
  if (needs_gpu(needs) && offers.kind == DeviceKind::kCpu) return false;
  if (!needs_gpu(needs) || offers.kind == DeviceKind::kAuto) return true;
  return needs.count <= std::max<std::int64_t>(offers.count, 1) &&
         contains_word(offers.gpu_type, needs.gpu_type) && offers.gpu_memory >= needs.gpu_memory;
}

bool goes_before(const JobRow& a, const JobRow& b) {
  return std::tie(b.priority, a.created_at, a.id) < std::tie(a.priority, b.created_at, b.id);
}

std::vector<Assignment> schedule(std::span<const JobAsk> asks, std::span<const NodeOffer> nodes,
                                 const Quota& quota) {
  std::vector<Assignment> out;
  std::vector<std::size_t> order(asks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto before = [&](std::size_t a, std::size_t b) {
    return goes_before(*asks[a].job, *asks[b].job);
  };
  if (!std::ranges::is_sorted(order, before)) std::ranges::sort(order, before);
  std::vector<std::int64_t> free;
  for (const NodeOffer& offer : nodes) free.push_back(offer.free_slots);
  std::vector<char> touched(nodes.size(), 0);
  std::int64_t free_in_all = 0;
  for (const std::int64_t slots : free) free_in_all += std::max<std::int64_t>(slots, 0);
  Quota held = quota;
  std::set<Wish> hopeless;
  for (const std::size_t index : order) {
    if (free_in_all <= 0) break;
    const JobAsk& ask = asks[index];
    const Wish wish{&ask};
    if (hopeless.contains(wish)) continue;
    const auto choice = choose(ask, nodes, free, touched);
    if (!choice) {
      hopeless.insert(wish);
      continue;
    }
    std::int64_t& used = held.held[ask.job->tenant];
    if (quota.slots_each > 0 && used + choice->slots > quota.slots_each) continue;
    used += choice->slots;
    free[choice->node] -= choice->slots;
    free_in_all -= choice->slots;
    touched[choice->node] = 1;
    out.push_back({index, choice->node, choice->slots});
  }
  return out;
}

}  // namespace ratchet::control

#include "trainer/ops/attention_op.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

namespace ratchet::trainer::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// Queries of one windowed piece are as many as the window, but not fewer than this: a short window
// should not fall apart into tiny products.
constexpr int64_t kLeastWindowRows = 128;

// `count` neighbouring pieces of q_len queries and k_len keys. A masked piece is alone, and row r
// of its queries stands at key r + lead.
struct Piece {
  int64_t q_start, q_len, k_start, k_len, count;
  bool masked;
  [[nodiscard]] int64_t lead() const { return q_start - k_start; }
};

void cut_windows(int64_t start, int64_t length, int64_t window, std::vector<Piece>& pieces) {
  const int64_t rows = std::max(window, kLeastWindowRows);
  for (int64_t row = 0; row < length; row += rows) {
    const int64_t end = std::min(length, row + rows);
    const int64_t first_key = std::max<int64_t>(0, row - window + 1);
    pieces.push_back(
        {start + row, end - row, start + first_key, end - first_key, 1, /*masked=*/true});
  }
}

std::vector<Piece> pieces_of(const at::Tensor& runs_R3, int64_t window) {
  std::vector<Piece> pieces;
  const auto runs = runs_R3.accessor<int64_t, 2>();
  for (int64_t r = 0; r < runs.size(0); ++r) {
    const int64_t start = runs[r][0], length = runs[r][1], count = runs[r][2];
    if (window <= 0 || length <= window) {
      pieces.push_back({start, length, start, length, count, /*masked=*/false});
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {
      cut_windows(start + i * length, length, window, pieces);
    }
  }
  return pieces;
}

// True where row r, standing at key r + lead, sees column c.
at::Tensor visible(int64_t rows, int64_t columns, int64_t lead, int64_t window, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(device);
  const at::Tensor distance =
      at::arange(lead, lead + rows, options).unsqueeze(1) - at::arange(columns, options);
  at::Tensor seen = distance.ge(0);
  return window > 0 ? seen.logical_and_(distance.lt(window)) : seen;
}

at::Tensor additive_mask(const Piece& piece, int64_t window, const at::Tensor& like) {
  const at::Tensor seen = visible(piece.q_len, piece.k_len, piece.lead(), window, like.device());
  return at::zeros({piece.q_len, piece.k_len}, like.options())
      .masked_fill_(seen.logical_not(), -std::numeric_limits<double>::infinity());
}

// Views of the flat [T, H, K] (or [T, Hkv, K]) tensors in the kernel's [batch, head, token, K].
// With one segment the query heads of a group form the batch; with several, the segments do, and
// `group` says which of a group's heads. Nothing is copied.
struct Views {
  int64_t groups;  // H / Hkv
  Piece piece;

  [[nodiscard]] int64_t calls() const { return piece.count == 1 ? 1 : groups; }

  [[nodiscard]] at::Tensor query(const at::Tensor& flat, int64_t group) const {
    const int64_t kv = flat.size(1) / groups;
    const at::Tensor rows = flat.narrow(0, piece.q_start, piece.q_len * piece.count)
                                .view({piece.count, piece.q_len, kv, groups, flat.size(2)});
    return piece.count == 1 ? rows.select(0, 0).permute({2, 1, 0, 3})
                            : rows.select(3, group).permute({0, 2, 1, 3});
  }

  [[nodiscard]] at::Tensor key(const at::Tensor& flat) const {
    const at::Tensor rows = flat.narrow(0, piece.k_start, piece.k_len * piece.count)
                                .view({piece.count, piece.k_len, flat.size(1), flat.size(2)})
                                .permute({0, 2, 1, 3});
    return piece.count == 1 ? rows.expand({groups, -1, -1, -1}) : rows;
  }

  // Gradient of key() back into the flat tensor.
  void add_key_gradient(const at::Tensor& gradient, at::Tensor& flat) const {
    at::Tensor rows = flat.narrow(0, piece.k_start, piece.k_len * piece.count)
                          .view({piece.count, piece.k_len, flat.size(1), flat.size(2)})
                          .permute({0, 2, 1, 3});
    if (piece.count == 1 && groups > 1) {
      rows.add_(gradient.sum(0, /*keepdim=*/true));
    } else {
      rows.add_(gradient);
    }
  }
};

double scale_of(const at::Tensor& q) { return 1.0 / std::sqrt(static_cast<double>(q.size(2))); }

std::optional<at::Tensor> mask_of(const Piece& piece, int64_t window, const at::Tensor& like) {
  return piece.masked ? std::optional<at::Tensor>(additive_mask(piece, window, like))
                      : std::nullopt;
}

// One call for each piece and group; returns the log-sum-exps in that order.
tensor_list flash_cpu_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const std::vector<Piece>& pieces, int64_t window, at::Tensor& out) {
  tensor_list sums;
  for (const Piece& piece : pieces) {
    const Views views{q.size(1) / k.size(1), piece};
    const auto mask = mask_of(piece, window, q);
    const at::Tensor keys = views.key(k), values = views.key(v);
    for (int64_t group = 0; group < views.calls(); ++group) {
      auto [o, sum] = at::_scaled_dot_product_flash_attention_for_cpu(
          views.query(q, group), keys, values, 0.0, !piece.masked, mask, scale_of(q));
      views.query(out, group).copy_(o);
      sums.push_back(std::move(sum));
    }
  }
  return sums;
}

struct Gradients {
  at::Tensor dq, dk, dv;
};

Gradients flash_cpu_backward(const at::Tensor& grad, const tensor_list& saved,
                             const std::vector<Piece>& pieces, int64_t window) {
  const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
  Gradients g{at::empty_like(q), at::zeros_like(k), at::zeros_like(v)};
  size_t sum = 5;
  for (const Piece& piece : pieces) {
    const Views views{q.size(1) / k.size(1), piece};
    const auto mask = mask_of(piece, window, q);
    const at::Tensor keys = views.key(k), values = views.key(v);
    for (int64_t group = 0; group < views.calls(); ++group) {
      auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          views.query(grad, group), views.query(q, group), keys, values, views.query(out, group),
          saved[sum++], 0.0, !piece.masked, mask, scale_of(q));
      views.query(g.dq, group).copy_(dq);
      views.add_key_gradient(dk, g.dk);
      views.add_key_gradient(dv, g.dv);
    }
  }
  return g;
}

// softmax(q k^T scale) of a piece, in fp32 at least.
at::Tensor probabilities(const Views& views, const at::Tensor& q, const at::Tensor& k,
                         int64_t group, int64_t window) {
  const Piece& piece = views.piece;
  const at::Tensor scores =
      at::matmul(views.query(q, group), views.key(k).transpose(2, 3)) * scale_of(q);
  const at::Tensor seen =
      visible(piece.q_len, piece.k_len, piece.lead(), window, q.device()).logical_not_();
  const auto dtype = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::softmax(scores.to(dtype).masked_fill(seen, -std::numeric_limits<double>::infinity()),
                     3);
}

void products_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const std::vector<Piece>& pieces, int64_t window, at::Tensor& out) {
  for (const Piece& piece : pieces) {
    const Views views{q.size(1) / k.size(1), piece};
    for (int64_t group = 0; group < views.calls(); ++group) {
      const at::Tensor p = probabilities(views, q, k, group, window).to(q.scalar_type());
      views.query(out, group).copy_(at::matmul(p, views.key(v)));
    }
  }
}

Gradients products_backward(const at::Tensor& grad, const tensor_list& saved,
                            const std::vector<Piece>& pieces, int64_t window) {
  const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
  Gradients g{at::empty_like(q), at::zeros_like(k), at::zeros_like(v)};
  for (const Piece& piece : pieces) {
    const Views views{q.size(1) / k.size(1), piece};
    for (int64_t group = 0; group < views.calls(); ++group) {
      const at::Tensor p = probabilities(views, q, k, group, window);
      const at::Tensor dout = views.query(grad, group);
      const at::Tensor dp = at::matmul(dout, views.key(v).transpose(2, 3)).to(p.scalar_type());
      const at::Tensor ds =
          (p * (dp - (dp * p).sum(3, /*keepdim=*/true))).mul_(scale_of(q)).to(q.scalar_type());
      views.query(g.dq, group).copy_(at::matmul(ds, views.key(k)));
      views.add_key_gradient(at::matmul(ds.transpose(2, 3), views.query(q, group)), g.dk);
      views.add_key_gradient(at::matmul(p.to(q.scalar_type()).transpose(2, 3), dout), g.dv);
    }
  }
  return g;
}

enum class Route : int64_t { kFlashCpu, kFlashCuda, kProducts };

Route route_of(const at::Tensor& q) {
  if (q.is_cpu()) {
    return Route::kFlashCpu;
  }
  return q.scalar_type() == at::kBFloat16 && q.size(2) % 8 == 0 ? Route::kFlashCuda
                                                                : Route::kProducts;
}

std::optional<int64_t> left_of(int64_t window) {
  return window > 0 ? std::optional<int64_t>(window - 1) : std::nullopt;
}

std::optional<int64_t> right_of(int64_t window) {
  return window > 0 ? std::optional<int64_t>(0) : std::nullopt;
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const AttentionPlan& plan, int64_t window,
                            Route route) {
    ctx->saved_data["window"] = window;
    ctx->saved_data["route"] = static_cast<int64_t>(route);
    ctx->saved_data["longest"] = plan.longest;
    tensor_list extra;
    at::Tensor out;
    if (route == Route::kFlashCuda && plan.tokens > 0) {
      auto [o, sum, rng, unused, debug] = at::_flash_attention_forward(
          q, k, v, plan.offsets_S1, plan.offsets_S1, plan.longest, plan.longest, 0.0,
          /*is_causal=*/true, /*return_debug_mask=*/false, scale_of(q), left_of(window),
          right_of(window));
      out = o;
      extra = {sum, plan.offsets_S1, rng, unused};
    } else {
      out = at::empty_like(q);
      const auto pieces = pieces_of(plan.runs_R3, window);
      if (route == Route::kFlashCpu) {
        extra = flash_cpu_forward(q, k, v, pieces, window, out);
      } else {
        products_forward(q, k, v, pieces, window, out);
      }
    }
    tensor_list saved = {q, k, v, out, plan.runs_R3};
    saved.insert(saved.end(), extra.begin(), extra.end());
    ctx->save_for_backward(std::move(saved));
    return out;
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const int64_t window = ctx->saved_data["window"].toInt();
    const auto route = static_cast<Route>(ctx->saved_data["route"].toInt());
    const at::Tensor grad = grads[0].contiguous();
    Gradients g;
    if (route == Route::kFlashCuda && grad.size(0) > 0) {
      const int64_t longest = ctx->saved_data["longest"].toInt();
      std::tie(g.dq, g.dk, g.dv) = at::_flash_attention_backward(
          grad, saved[0], saved[1], saved[2], saved[3], saved[5], saved[6], saved[6], longest,
          longest, 0.0, /*is_causal=*/true, saved[7], saved[8], scale_of(saved[0]), left_of(window),
          right_of(window));
    } else {
      const auto pieces = pieces_of(saved[4], window);
      g = route == Route::kFlashCpu ? flash_cpu_backward(grad, saved, pieces, window)
                                    : products_backward(grad, saved, pieces, window);
    }
    return {g.dq, g.dk, g.dv, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

void check_shapes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && k.sizes() == v.sizes() && q.size(2) == k.size(2) &&
                  k.size(1) > 0 && q.size(1) % k.size(1) == 0,
              "attention: q is ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
  TORCH_CHECK(q.is_contiguous() && k.is_contiguous() && v.is_contiguous(),
              "attention: q, k and v must be contiguous");
}

at::Tensor checked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionPlan& plan, int64_t window, Route route) {
  check_shapes(q, k, v);
  TORCH_CHECK(q.size(0) == plan.tokens && k.size(0) == plan.tokens && window >= 0,
              "attention: the plan has ", plan.tokens, " tokens, q ", q.size(0), "; window ",
              window);
  return Attention::apply(q, k, v, plan, window, route);
}

}  // namespace

AttentionPlan make_attention_plan(std::span<const int32_t> segment_offsets, at::Device device) {
  TORCH_CHECK(!segment_offsets.empty() && segment_offsets.front() == 0,
              "segment offsets must start with 0");
  std::vector<int64_t> runs;
  std::vector<int32_t> offsets = {0};
  AttentionPlan plan;
  for (size_t s = 1; s < segment_offsets.size(); ++s) {
    const int64_t start = segment_offsets[s - 1], length = segment_offsets[s] - start;
    TORCH_CHECK(length >= 0, "segment offsets must ascend, segment ", s - 1, " has length ",
                length);
    if (length == 0) {
      continue;
    }
    offsets.push_back(segment_offsets[s]);
    plan.longest = std::max(plan.longest, length);
    if (!runs.empty() && runs[runs.size() - 2] == length) {
      ++runs.back();
    } else {
      runs.insert(runs.end(), {start, length, 1});
    }
  }
  plan.tokens = segment_offsets.back();
  plan.runs_R3 = at::tensor(runs, at::kLong).view({-1, 3});
  plan.offsets_S1 = at::tensor(offsets, at::kInt).to(device);
  return plan;
}

at::Tensor attention(const at::Tensor& q_THK, const at::Tensor& k_TGK, const at::Tensor& v_TGK,
                     const AttentionPlan& plan, int64_t window) {
  return checked_attention(q_THK, k_TGK, v_TGK, plan, window, route_of(q_THK));
}

at::Tensor attention_by_products(const at::Tensor& q_THK, const at::Tensor& k_TGK,
                                 const at::Tensor& v_TGK, const AttentionPlan& plan,
                                 int64_t window) {
  return checked_attention(q_THK, k_TGK, v_TGK, plan, window, Route::kProducts);
}

at::Tensor attention_over_cache(const at::Tensor& q_NHK, const at::Tensor& k_MGK,
                                const at::Tensor& v_MGK, int64_t window) {
  check_shapes(q_NHK, k_MGK, v_MGK);
  const int64_t n = q_NHK.size(0), m = k_MGK.size(0);
  TORCH_CHECK(n <= m, "attention: ", n, " queries over ", m, " cached positions");
  const int64_t first = window > 0 ? std::max<int64_t>(0, m - n - window + 1) : 0;
  const at::Tensor k = k_MGK.narrow(0, first, m - first);
  const at::Tensor v = v_MGK.narrow(0, first, m - first);
  // The first query stands at key m - n, which is m - n - first among the keys that are kept.
  const Views views{q_NHK.size(1) / k.size(1), {0, n, 0, m - first, 1, /*masked=*/true}};
  const at::Tensor scores =
      at::matmul(views.query(q_NHK, 0), views.key(k).transpose(2, 3)) * scale_of(q_NHK);
  const at::Tensor hidden =
      visible(n, m - first, m - n - first, window, q_NHK.device()).logical_not_();
  const auto dtype = q_NHK.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor p =
      at::softmax(scores.to(dtype).masked_fill(hidden, -std::numeric_limits<double>::infinity()), 3)
          .to(q_NHK.scalar_type());
  at::Tensor out = at::empty_like(q_NHK);
  views.query(out, 0).copy_(at::matmul(p, views.key(v)));
  return out;
}

}  // namespace ratchet::trainer::ops

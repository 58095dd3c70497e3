#include "trainer/model/decoder_layer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>

#include "trainer/ops/rmsnorm_op.h"
#include "trainer/ops/swiglu_op.h"

namespace ratchet::trainer {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// Applies linear layers of one block to tokens at `places`.
struct Apply {
  const DecoderLayer& layer;
  ops::LoraDropout dropout;

  at::Tensor operator()(TargetModule module, const at::Tensor& x) const {
    const Linear& linear = layer.linears[static_cast<size_t>(module)];
    if (!linear.lora.a_RI.defined()) {
      return ops::linear(x, linear.weight, linear.bias_O);
    }
    ops::LoraDropout keyed = dropout;
    keyed.key.layer = layer.index;
    keyed.key.module = static_cast<uint32_t>(module);
    return ops::lora_linear(x, linear.weight, linear.bias_O, linear.lora, keyed);
  }
};

struct Qkv {
  at::Tensor q_THK, k_TGK, v_TGK;
};

at::Tensor heads_of(const at::Tensor& flat, const at::Tensor& norm, const DecoderLayer& layer) {
  const at::Tensor heads = flat.view({flat.size(0), -1, layer.head_dim});
  return norm.defined() ? ops::rmsnorm(heads, norm, layer.eps) : heads;
}

Qkv project(const at::Tensor& x, const ops::RopeTable& rope, const Apply& apply) {
  const DecoderLayer& layer = apply.layer;
  const at::Tensor normed = ops::rmsnorm(x, layer.input_norm_D, layer.eps);
  const at::Tensor q = heads_of(apply(TargetModule::kQ, normed), layer.q_norm_K, layer);
  const at::Tensor k = heads_of(apply(TargetModule::kK, normed), layer.k_norm_K, layer);
  const at::Tensor v = heads_of(apply(TargetModule::kV, normed), {}, layer);
  return {ops::rope(q, rope), ops::rope(k, rope), v};
}

// x + o(attended), then the feed-forward half.
at::Tensor finish(const at::Tensor& x, const at::Tensor& attended_THK, const Apply& apply) {
  const DecoderLayer& layer = apply.layer;
  const at::Tensor attended = attended_THK.view({attended_THK.size(0), -1});
  const at::Tensor middle = x + apply(TargetModule::kO, attended);
  const at::Tensor normed = ops::rmsnorm(middle, layer.attention_norm_D, layer.eps);
  const at::Tensor h =
      ops::swiglu(apply(TargetModule::kGate, normed), apply(TargetModule::kUp, normed));
  return middle + apply(TargetModule::kDown, h);
}

// Makes room for `length` positions; keeps the first `past`.
void reserve(at::Tensor& cache, const at::Tensor& like, int64_t past, int64_t length) {
  if (cache.defined() && cache.size(0) >= length) {
    return;
  }
  const int64_t capacity = std::max<int64_t>(256, 2 * length);
  at::Tensor larger = at::empty({capacity, like.size(1), like.size(2)}, like.options());
  if (past > 0) {
    larger.narrow(0, 0, past).copy_(cache.narrow(0, 0, past));
  }
  cache = larger;
}

at::Tensor append(at::Tensor& cache, const at::Tensor& fresh, int64_t past) {
  const int64_t length = past + fresh.size(0);
  reserve(cache, fresh, past, length);
  cache.narrow(0, past, fresh.size(0)).copy_(fresh);
  return cache.narrow(0, 0, length);
}

// What backward needs to run a layer again; kept alive by the graph.
struct LayerCall : torch::CustomClassHolder {
  LayerCall(const DecoderLayer& layer_in, std::shared_ptr<const BatchContext> context_in,
            bool last_in)
      : layer(layer_in), context(std::move(context_in)), last(last_in) {}
  const DecoderLayer& layer;
  std::shared_ptr<const BatchContext> context;
  bool last;
};

class CheckpointedLayer : public torch::autograd::Function<CheckpointedLayer> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& /*anchor*/,
                            const c10::intrusive_ptr<LayerCall>& call) {
    ctx->save_for_backward({x});
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return call->layer.forward(x, *call->context, call->last);
  }

  static tensor_list backward(AutogradContext* ctx, const tensor_list& grads) {
    const auto call =
        c10::static_intrusive_pointer_cast<LayerCall>(ctx->saved_data["call"].toCapsule());
    const bool wants_x = ctx->needs_input_grad(0);
    at::Tensor x = ctx->get_saved_variables()[0].detach();
    x.set_requires_grad(wants_x);
    {
      const at::AutoGradMode enable(true);
      const at::Tensor y = call->layer.forward(x, *call->context, call->last);
      // A nested pass: the layer's parameters accumulate here, in the order they would have had.
      torch::autograd::backward({y}, {grads[0]});
    }
    return {wants_x ? x.grad() : at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor DecoderLayer::forward(const at::Tensor& x_TD, const BatchContext& context,
                                 bool last) const {
  Apply apply{*this, context.dropout};
  const Qkv qkv = project(x_TD, context.rope, apply);
  const at::Tensor attended =
      ops::attention(qkv.q_THK, qkv.k_TGK, qkv.v_TGK, context.attention, window);
  if (!last || !context.rows_R.defined()) {
    return finish(x_TD, attended, apply);
  }
  // Nothing after the last attention mixes tokens: go on with the rows that count.
  apply.dropout.places = context.row_places_R;
  return finish(x_TD.index_select(0, context.rows_R), attended.index_select(0, context.rows_R),
                apply);
}

at::Tensor DecoderLayer::forward_cached(const at::Tensor& x_ND, const ops::RopeTable& rope,
                                        int64_t past, KvCache::Layer& cache) const {
  const Apply apply{*this, {}};
  const Qkv qkv = project(x_ND, rope, apply);
  const at::Tensor k = append(cache.k_CGK, qkv.k_TGK, past);
  const at::Tensor v = append(cache.v_CGK, qkv.v_TGK, past);
  return finish(x_ND, ops::attention_over_cache(qkv.q_THK, k, v, window), apply);
}

at::Tensor forward_checkpointed(const DecoderLayer& layer, const at::Tensor& x_TD,
                                const at::Tensor& anchor,
                                const std::shared_ptr<const BatchContext>& context, bool last) {
  return CheckpointedLayer::apply(x_TD, anchor,
                                  c10::make_intrusive<LayerCall>(layer, context, last));
}

}  // namespace ratchet::trainer

#!/usr/bin/env python3
"""Our model against transformers and PEFT, on the CPU, over random tiny models of every family.

Prints one line a check and `N passed, N failed, N skipped` at the end. Needs torch, transformers,
peft and safetensors (test-only packages) and the program parity_probe beside it in the build.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)
from transformers.utils import logging as transformers_logging

RELATIVE = 1e-5  # of a loss, of the largest logit, of a gradient's norm
RANK, ALPHA = 4, 10
DORA = ("llama_tied_biased", "qwen3_head_dim")  # families whose adapters have magnitudes
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VOCAB = 131
ROW_LENGTHS = (53, 41, 41, 7)

COMMON = dict(vocab_size=VOCAB, hidden_size=48, intermediate_size=88, num_hidden_layers=3,
              num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=256,
              initializer_range=0.08, bos_token_id=1, eos_token_id=2, pad_token_id=None)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                   high_freq_factor=4.0, original_max_position_embeddings=32)

FAMILIES = {
    "llama_untied": (LlamaForCausalLM, LlamaConfig(**COMMON, tie_word_embeddings=False)),
    "llama_tied_biased": (LlamaForCausalLM, LlamaConfig(
        **COMMON, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "llama3_rope": (LlamaForCausalLM, LlamaConfig(
        **COMMON, tie_word_embeddings=True, rope_parameters=dict(LLAMA3_ROPE))),
    "mistral_window": (MistralForCausalLM, MistralConfig(
        **COMMON, sliding_window=16, tie_word_embeddings=False)),
    "qwen2_biases": (Qwen2ForCausalLM, Qwen2Config(**COMMON, tie_word_embeddings=True)),
    "qwen2_window": (Qwen2ForCausalLM, Qwen2Config(
        **COMMON, use_sliding_window=True, sliding_window=9, max_window_layers=1)),
    "qwen3_head_dim": (Qwen3ForCausalLM, Qwen3Config(
        **COMMON, head_dim=16, tie_word_embeddings=False)),
}


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, value, limit):
        good = math.isfinite(value) and value <= limit
        self.passed += good
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}: {value:.3g} (limit {limit:.3g})", flush=True)


def probe_path():
    folder = os.environ.get("RATCHET_BINARY_DIR", ".")
    return str(pathlib.Path(folder) / "bin" / "parity_probe")


def probe(*args):
    done = subprocess.run([probe_path(), *map(str, args)], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        raise RuntimeError(f"parity_probe {' '.join(map(str, args))}: {done.stderr}")
    return done.stdout


def make_lively(model):
    """Moves norms and biases away from their defaults, where a dropped one would not show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1.0 + 0.3 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.copy_(0.3 * torch.randn_like(parameter))


def make_batch(path):
    rows, targets = [], []
    generator = torch.Generator().manual_seed(7)
    for length in ROW_LENGTHS:
        ids = torch.randint(3, VOCAB, (length + 1,), generator=generator)
        masked = torch.rand(length, generator=generator) < 0.3
        rows.append(ids[:-1].tolist())
        targets.append([-1 if m else int(t) for t, m in zip(ids[1:], masked)])
    path.write_text(json.dumps({"rows": rows, "targets": targets}))
    return rows, targets


def loss_sum(model, rows, targets):
    """Sum of NLL and the logits of all rows, one row at a time: no padding on their side."""
    total, logits = 0.0, []
    for ids, wanted in zip(rows, targets):
        out = model(torch.tensor([ids])).logits[0].float()
        logits.append(out)
        total = total + torch.nn.functional.cross_entropy(
            out, torch.tensor(wanted), ignore_index=-1, reduction="sum")
    return total, torch.cat(logits)


def token_count(targets):
    return sum(t != -1 for row in targets for t in row)


def load_reference(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")


def make_adapter(base_folder, out, rslora=False, dora=False):
    torch.manual_seed(11)
    model = get_peft_model(load_reference(base_folder), LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS, bias="none",
        task_type="CAUSAL_LM", use_rslora=rslora, use_dora=dora))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
            if "lora_magnitude" in name:
                parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
    model.save_pretrained(out)


def load_adapted(base, adapter, dtype=torch.float32):
    return PeftModel.from_pretrained(load_reference(base, dtype), adapter, is_trainable=True)


def gradients_of(model):
    def stored(name):  # as in adapter files: magnitudes carry no ".weight"
        name = name.replace(".default", "")
        return name.removesuffix(".weight") if "lora_magnitude" in name else name
    return {stored(name): p.grad for name, p in model.named_parameters()
            if p.grad is not None}


def logit_error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def compare_gradients(report, name, ours, theirs):
    worst = 0.0
    for key, gradient in theirs.items():
        worst = max(worst, ((ours[key] - gradient).norm() / gradient.norm()).item())
    report.check(f"{name} gradients of {len(theirs)} tensors", worst, RELATIVE)


def check_forward(report, name, base, adapter, work, batch_file, rows, targets):
    reference = load_reference(base)
    with torch.no_grad():
        loss, logits = loss_sum(reference, rows, targets)
    probe("forward", base, "-", batch_file, "fp32", 0, work / "base.safetensors")
    ours = load_file(work / "base.safetensors")
    expected = loss.item() / token_count(targets)
    report.check(f"{name} base logits", logit_error(ours["logits"], logits), RELATIVE)
    report.check(f"{name} base loss", abs(ours["loss"].item() / expected - 1), RELATIVE)

    adapted = load_adapted(base, adapter)
    loss, logits = loss_sum(adapted, rows, targets)
    mean = loss / token_count(targets)
    mean.backward()
    for checkpointing in (0, 1):
        probe("forward", base, adapter, batch_file, "fp32", checkpointing,
              work / "lora.safetensors")
        ours = load_file(work / "lora.safetensors")
        label = f"{name} adapted{' checkpointed' if checkpointing else ''}"
        report.check(f"{label} logits", logit_error(ours["logits"], logits.detach()), RELATIVE)
        report.check(f"{label} loss", abs(ours["loss"].item() / mean.item() - 1), RELATIVE)
        compare_gradients(report, label, ours, gradients_of(adapted))


def check_full(report, name, base, work, batch_file, rows, targets):
    reference = load_reference(base)
    loss, _ = loss_sum(reference, rows, targets)
    (loss / token_count(targets)).backward()
    probe("full", base, batch_file, work / "full.safetensors")
    compare_gradients(report, f"{name} full", load_file(work / "full.safetensors"),
                      gradients_of(reference))


def check_curve(report, name, base, adapter, work, batch_file, rows, targets):
    model = load_adapted(base, adapter)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01)
    theirs = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = loss_sum(model, rows, targets)[0] / token_count(targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        theirs.append(loss.item())
    ours = json.loads(probe("curve", base, adapter, batch_file, 20, 1e-3, work / "trained"))
    worst = max(abs(a / b - 1) for a, b in zip(ours, theirs))
    report.check(f"{name} 20-step loss curve {theirs[0]:.4f} to {theirs[-1]:.4f}", worst, RELATIVE)

    with torch.no_grad():
        loaded = loss_sum(load_adapted(base, work / "trained"), rows, targets)[1]
    probe("forward", base, work / "trained", batch_file, "fp32", 0, work / "trained.safetensors")
    mine = load_file(work / "trained.safetensors")["logits"]
    report.check(f"{name} our adapter in PEFT, logits", logit_error(mine, loaded), RELATIVE)


def check_merge(report, name, base, adapter, work):
    merged = load_adapted(base, adapter).merge_and_unload().state_dict()
    probe("merge", base, adapter, work / "merged")
    ours = load_reference(work / "merged").state_dict()
    worst = max(((ours[key] - merged[key]).abs().max() / merged[key].abs().max()).item()
                for key in merged)
    report.check(f"{name} merged weights", worst, 1e-6)


def check_bf16(report, name, base, work, batch_file, rows, targets):
    """Ours may be at most twice as far from fp32 as PyTorch's own bf16 is."""
    half = work / "bf16"
    load_reference(base, torch.bfloat16).save_pretrained(half)
    make_adapter(half, work / "bf16_adapter")
    exact_model = load_adapted(half, work / "bf16_adapter")
    exact_loss, exact = loss_sum(exact_model, rows, targets)
    (exact_loss / token_count(targets)).backward()
    theirs_model = load_adapted(half, work / "bf16_adapter", torch.bfloat16)
    theirs_loss, theirs = loss_sum(theirs_model, rows, targets)
    (theirs_loss / token_count(targets)).backward()
    probe("forward", half, work / "bf16_adapter", batch_file, "bf16", 0, work / "half.safetensors")
    ours = load_file(work / "half.safetensors")
    error = lambda value: (value.detach() - exact.detach()).abs().max().item()
    rms = lambda value: (value.detach() - exact.detach()).square().mean().sqrt().item()
    report.check(f"{name} bf16 logits, largest error", error(ours["logits"]), 2 * error(theirs))
    report.check(f"{name} bf16 logits, RMS error", rms(ours["logits"]), 2 * rms(theirs))
    true_gradients, their_gradients = gradients_of(exact_model), gradients_of(theirs_model)
    off = lambda g: math.sqrt(sum((g[k].float() - t).square().sum().item()
                                  for k, t in true_gradients.items()))
    report.check(f"{name} bf16 gradients, RMS error", off(ours), 2 * off(their_gradients))


def respell_as_transformers_4(folder):
    """Rewrites config.json with rope_theta, rope_scaling and torch_dtype."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    path.write_text(json.dumps(config))


def check_family(report, name, work):
    torch.manual_seed(3)
    model_class, config = FAMILIES[name]
    config._attn_implementation = "eager"
    model = model_class(config)
    make_lively(model)
    base, adapter = work / "base", work / "adapter"
    model.save_pretrained(base)
    make_adapter(base, adapter, rslora=name == "mistral_window", dora=name in DORA)
    batch_file = work / "batch.json"
    rows, targets = make_batch(batch_file)
    check_forward(report, name, base, adapter, work, batch_file, rows, targets)
    check_full(report, name, base, work, batch_file, rows, targets)
    check_curve(report, name, base, adapter, work, batch_file, rows, targets)
    check_merge(report, name, base, adapter, work)
    check_bf16(report, name, base, work, batch_file, rows, targets)
    respell_as_transformers_4(base)
    probe("forward", base, "-", batch_file, "fp32", 0, work / "v4.safetensors")
    same = torch.equal(load_file(work / "v4.safetensors")["logits"],
                       load_file(work / "base.safetensors")["logits"])
    report.check(f"{name} config in the older spelling, logits differ", float(not same), 0.0)


def main():
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)  # the models are tiny: a second thread only waits
    report = Report()
    for name in sys.argv[1:] or FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                check_family(report, name, pathlib.Path(folder))
            except Exception as error:  # a crash of one family must not hide the others
                report.failed += 1
                print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{report.passed} passed, {report.failed} failed, 0 skipped")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

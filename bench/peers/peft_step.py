#!/usr/bin/env python3
"""One arm of step_vs_peft.py: LoRA training steps of transformers + PEFT on the CPU.

    peft_step.py MODEL ROWS.jsonl --sequence 512 --rows-a-step 2 --steps 12 --rank 16 --alpha 32

Trains on the {"text": ...} rows of ROWS.jsonl in file order, each cut to `sequence` tokens, every
token trained; fp32, AdamW on the adapters, gradient norm clipped to 1, no dropout, no gradient
checkpointing. Prints one JSON object: milliseconds of each step, loss of each step, versions.
"""

import argparse
import json
import time

import peft
import torch
import transformers

LEARNING_RATE = 1e-4
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def read_batches(args):
    """[steps] tensors [rows_a_step, sequence]."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    ids = []
    with open(args.rows, encoding="utf-8") as file:
        for line in file:
            row = tokenizer(json.loads(line)["text"])["input_ids"][: args.sequence]
            if len(row) != args.sequence:
                raise SystemExit(f"A row has {len(row)} tokens; each must have {args.sequence}.")
            ids.append(row)
    needed = args.steps * args.rows_a_step
    if len(ids) < needed:
        raise SystemExit(f"{len(ids)} rows are fewer than the {needed} that {args.steps} steps need.")
    return torch.tensor(ids[:needed]).view(args.steps, args.rows_a_step, args.sequence)


def build(args):
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    model.config.use_cache = False
    config = peft.LoraConfig(r=args.rank, lora_alpha=args.alpha, lora_dropout=0.0,
                             target_modules=TARGETS, task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config).train()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("--sequence", type=int, required=True)
    parser.add_argument("--rows-a-step", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--alpha", type=int, required=True)
    args = parser.parse_args()

    torch.manual_seed(1)
    batches = read_batches(args)
    model = build(args)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
    milliseconds, losses = [], []
    for batch in batches:
        begun = time.perf_counter()
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        milliseconds.append((time.perf_counter() - begun) * 1e3)
    print(json.dumps({
        "step_ms": milliseconds,
        "loss": losses,
        "trained_parameters": sum(p.numel() for p in trained),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                     "peft": peft.__version__},
        "threads": torch.get_num_threads(),
    }))


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Makes all that the demo ships, from nothing: conversations, tokenizer and base model.
#
#   deploy/demo/make_base.sh
#
# Steps: write the stories and conversations (make_text.py, make_chats.py), train the tokenizer, make
# a model with random weights, train it on the stories, then on plain answers (both method full), and
# copy the result to deploy/demo/base and deploy/demo/data. About 8 minutes on 2 cores. A step whose
# run was interrupted goes on from its checkpoint when the script is started again.
#
# The same machine gives the same bytes. On another kind of CPU the floats differ in their last
# bits, and so does the model's hash; SHA256SUMS in deploy/demo/base holds that of the shipped one.
#
# Settings: RATCHET_TRAINER (build/release/bin/ratchet-trainer), PYTHON (python3).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
demo=$root/deploy/demo
trainer=${RATCHET_TRAINER:-$root/build/release/bin/ratchet-trainer}
build=$root/build/demo/base
python=${PYTHON:-python3}

[[ -x $trainer ]] || {
  echo "The trainer is not at '$trainer'. Run 'make build', or set RATCHET_TRAINER." >&2
  exit 1
}
mkdir -p "$build"
cd "$demo"

echo "== 1/6 stories and conversations"
"$python" make_text.py "$build/text.jsonl"
"$python" make_chats.py "$build"

echo "== 2/6 tokenizer"
"$trainer" make-tokenizer "$build/text.jsonl" "$build/tokenizer" --vocab 1024

echo "== 3/6 untrained model"
rm -rf "$build/untrained"
"$trainer" make-model base_config.json "$build/untrained" --tokenizer "$build/tokenizer" \
  --dtype fp32 --seed 7

echo "== 4/6 first lesson: the stories"
"$trainer" run pretrain.json --out "$build/stories"

echo "== 5/6 second lesson: plain answers"
"$trainer" run pretrain_chat.json --out "$build/answers"

echo "== 6/6 copy"
mkdir -p base data
cp "$build/train.jsonl" "$build/heldout.jsonl" data/
for file in config.json tokenizer.json tokenizer_config.json model.safetensors; do
  cp "$build/answers/model/$file" base/
done
(cd base && sha256sum config.json model.safetensors tokenizer.json tokenizer_config.json >SHA256SUMS)
bytes=$(du -bc base data | tail -n 1 | cut -f 1)
echo "base and data together: $bytes bytes"
((bytes < 6000000)) || { echo "That is over the 6 MB that the demo may ship." >&2; exit 1; }

echo
"$trainer" generate base --prompt "One night in winter" --max-new 80
"$trainer" eval base data/heldout.jsonl

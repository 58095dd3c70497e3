#!/usr/bin/env bash
# What `make bench` runs: every benchmark that this machine can run. Method: bench/README.md; figures
# go to bench/results/. About 30 minutes on 2 cores.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
bin=build/release/bin
python=.toolchain/venv/bin/python

echo "== data check, 1 GB"
"$bin/check_bench" --bytes 1000000000

echo "== what a checkpoint costs"
"$python" bench/checkpoint/save_cost.py --trainer "$bin/ratchet-trainer"

echo "== CPU step against PEFT"
"$python" bench/peers/step_vs_peft.py --trainer "$bin/ratchet-trainer" --python "$python"

echo "== control plane at scale"
"$python" bench/cluster/fleet.py --programs "$bin"

echo "== recovery on one machine"
"$python" bench/cluster/recovery.py --programs "$bin"

if [[ -e /dev/nvidia0 ]]; then
  echo "== kernels"
  deploy/gpu/run_gpu_checks.sh
else
  echo "== kernels: no GPU here"
fi

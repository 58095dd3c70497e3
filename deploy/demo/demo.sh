#!/usr/bin/env bash
# What `make demo` runs: a LoRA fine-tune that is killed in mid-training and ends with the same bits.
#
#   deploy/demo/demo.sh [MODEL=folder] [DATA=chats.jsonl] [QUESTION=text]
#
#  1. trains once, undisturbed, with the trainer alone          -> undisturbed/
#  2. starts a control plane with two nodes and a webhook receiver, submits the same job through
#     the CLI, and kills with SIGKILL: a whole node in mid-training (the job resumes by itself on
#     the other one), then the control plane alone, then an agent alone   -> killed/
#  3. compares the SHA-256 of adapter and optimizer of both
#  4. measures the held-out loss and asks one question, before and after
#
# MODEL and DATA are your own Hugging Face folder and conversation file; without them the model and
# the conversations of this project are used. Settings may also come from the environment, and so
# may KILL_AT (the step), RATCHET_TRAINER (build/release/bin/ratchet-trainer), RATCHET_PROGRAMS (the
# folder of ratchet, ratchet-control and ratchet-agent, build/release/bin), DEMO_WORK (the folder
# that it empties and writes to, build/demo/run) and PYTHON (python3). Exit status 0 only when every
# claim holds: hashes equal, steps replayed, training never stopped by the death of control plane or
# agent, held-out loss fallen.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
for setting in "$@"; do
  case $setting in
    MODEL=* | DATA=* | QUESTION=* | KILL_AT=*) export "${setting?}" ;;
    -h | --help) sed -n '2,22s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "Unknown argument '$setting'. Known: MODEL=, DATA=, QUESTION=, KILL_AT=, --help." >&2
       exit 2 ;;
  esac
done
trainer=${RATCHET_TRAINER:-$root/build/release/bin/ratchet-trainer}
programs=${RATCHET_PROGRAMS:-$root/build/release/bin}
cluster=${DEMO_CLUSTER:-$root/deploy/demo/cluster.py}
python=${PYTHON:-python3}
# On a busy machine, threads that spin while they wait would starve each other.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
work=${DEMO_WORK:-$root/build/demo/run}
inputs=("$python" "$root/deploy/demo/demo_inputs.py")

bold='' dim='' green='' red='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
fail() { printf '\n%sThe demo failed.%s %s\n' "$red" "$plain" "$*" >&2; exit 1; }

[[ -x $trainer ]] || fail "The trainer is not at '$trainer'. Run 'make demo', which builds it."
started=$SECONDS

prepare() {
  rm -rf "$work"
  mkdir -p "$work"
  local flags=()
  [[ -z ${MODEL:-} ]] || flags+=(--model "$MODEL")
  [[ -z ${DATA:-} ]] || flags+=(--data "$DATA")
  [[ -z ${QUESTION:-} ]] || flags+=(--question "$QUESTION")
  "${inputs[@]}" prepare "$work" "${flags[@]}"
  job=$work/job.json
  model=${MODEL:-$root/deploy/demo/base}
  question=$(<"$work/question.txt")
}

heldout_loss() { # [adapter]
  local flags=()
  [[ $# -eq 0 ]] || flags=(--adapter "$1")
  "$trainer" eval "$model" "$work/heldout.jsonl" "${flags[@]}" --json | "${inputs[@]}" get mean_loss
}

answer() { # [adapter]
  local flags=()
  [[ $# -eq 0 ]] || flags=(--adapter "$1")
  "$trainer" generate "$model" "${flags[@]}" --chat "$question" --max-new 60
}

# The middle of a checkpoint interval in the first third of training, so that there are a few steps
# to lose and time for the deaths that follow.
choose_kill_step() { # interval, steps
  local interval=$1 total=$2
  local last=$((total / 3 / interval))
  ((last > 0)) || last=1
  local step=$((interval * (1 + RANDOM % last) + interval / 3 + RANDOM % 8))
  echo $((step < total - 1 ? step : total - 2))
}

sha() { sha256sum "$1" | cut -d ' ' -f 1; }
checkpoint_folder() { printf '%s/ckpt/step-%08d' "$1" "$2"; }

row() { printf '  %-26s %s\n' "$1" "$2"; }
quote() { printf '      %s\n' "${1//$'\n'/$'\n'      }"; }

prepare
say "1. Train once, undisturbed"
"$trainer" run "$job" --out "$work/undisturbed"
steps=$("${inputs[@]}" step "$work/undisturbed/events.jsonl")
interval=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["checkpoint"]["interval_steps"])' "$job")
kill_at=${KILL_AT:-$(choose_kill_step "$interval" "$steps")}
((kill_at > interval && kill_at < steps)) || fail \
  "KILL_AT=$kill_at must lie after the first checkpoint (step $interval) and before step $steps."

say "2. Submit it to a control plane, kill the node at step $kill_at, then control plane and agent"
"$python" "$cluster" --programs "$programs" --trainer "$trainer" --job "$job" --work "$work" \
  --kill-at "$kill_at" || fail "A claim of the cluster does not hold. What was said is above."
read -r killed_at resumed_from replayed recovery_s control_s webhooks < <(
  "${inputs[@]}" summary "$work/killed/summary.json")

say "3. Compare"
quiet=$(checkpoint_folder "$work/undisturbed" "$steps")
loud=$work/killed/final
equal=1
for file in adapter_model.safetensors optimizer.safetensors; do
  a=$(sha "$quiet/$file")
  b=$(sha "$loud/$file")
  row "undisturbed  ${file%.safetensors}" "$a"
  row "killed       ${file%.safetensors}" "$b"
  [[ $a == "$b" ]] || equal=0
done

say "4. What it learned"
adapter=$work/killed/adapter
before=$(heldout_loss)
after=$(heldout_loss "$adapter")
note "Question, not among the training rows: $question"
answer_before=$(answer)
answer_after=$(answer "$adapter")
note "Before:"
quote "$answer_before"
note "After:"
quote "$answer_after"

fell=$("$python" -c 'import sys; print(int(float(sys.argv[2]) < float(sys.argv[1])))' "$before" "$after")
verdict="${green}equal, bit for bit${plain}"
((equal)) || verdict="${red}DIFFERENT${plain}"
say "Summary"
printf '  %s\n' "-----------------------------------------------------------------------"
row "Node killed after step" "$killed_at of $steps"
row "Resumed on the other node" "from step $resumed_from, $replayed steps replayed, after $recovery_s s"
row "Control plane killed" "back after $control_s s, nothing repeated"
row "Agent killed" "its trainer lived on"
row "Webhooks" "$webhooks delivered, signatures checked"
row "Adapter and optimizer" "$verdict"
row "Held-out loss" "$before before, $after after"
row "Adapter" "${adapter#"$root"/}"
row "Time" "$((SECONDS - started)) s"
printf '  %s\n' "-----------------------------------------------------------------------"
((equal)) || fail "The resumed run differs from the undisturbed one."
((replayed > 0)) || fail "No step was replayed, so the comparison proves nothing."
((fell)) || fail "The held-out loss did not fall."
printf '\n%sTry it:%s %s generate %s --adapter %s --chat "%s"\n' "$bold" "$plain" \
  "${trainer#"$root"/}" "${model#"$root"/}" "${adapter#"$root"/}" "$question"

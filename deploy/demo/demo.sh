#!/usr/bin/env bash
# What `make demo` runs: a LoRA fine-tune that is killed in mid-training and ends with the same bits.
#
#   deploy/demo/demo.sh [MODEL=folder] [DATA=chats.jsonl] [QUESTION=text]
#
#  1. trains once, undisturbed                                  -> undisturbed/
#  2. trains again, kills it with SIGKILL between two checkpoints, starts the same command again
#                                                               -> killed/
#  3. compares the SHA-256 of adapter and optimizer of both
#  4. measures the held-out loss and asks one question, before and after
#
# MODEL and DATA are your own Hugging Face folder and conversation file; without them the model and
# the conversations of this project are used. Settings may also come from the environment, and so
# may KILL_AT (the step), RATCHET_TRAINER (build/release/bin/ratchet-trainer), DEMO_WORK (the folder
# that it empties and writes to, build/demo/run) and PYTHON (python3). Exit status 0 only when the
# hashes are equal and the held-out loss fell.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
for setting in "$@"; do
  case $setting in
    MODEL=* | DATA=* | QUESTION=* | KILL_AT=*) export "${setting?}" ;;
    -h | --help) sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "Unknown argument '$setting'. Known: MODEL=, DATA=, QUESTION=, KILL_AT=, --help." >&2
       exit 2 ;;
  esac
done
trainer=${RATCHET_TRAINER:-$root/build/release/bin/ratchet-trainer}
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

victim=''
stop_victim() { # only the process that this script started, and only while it is ours
  [[ -z $victim ]] || kill -KILL "$victim" 2>/dev/null || true
}
trap stop_victim EXIT

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

# The middle of a checkpoint interval in the second half of training: a few steps to lose.
choose_kill_step() { # steps
  local interval=$1 total=$2
  local last=$(((total - 1) / interval))
  local first=$(((last + 1) / 2))
  ((first > 0)) || first=1
  local step=$((interval * (first + RANDOM % (last - first + 1)) + interval / 3 + RANDOM % 8))
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

say "2. Train again, and kill it at step $kill_at"
"$trainer" run "$job" --out "$work/killed" &
victim=$!
"${inputs[@]}" wait "$work/killed/events.jsonl" "$kill_at" "$victim" ||
  fail "The run ended before it could be killed. Its words are above."
kill -KILL "$victim"
wait "$victim" 2>/dev/null || true
victim=''
killed_at=$("${inputs[@]}" step "$work/killed/events.jsonl")
printf '\n%sKilled with SIGKILL after step %s.%s The same command again:\n' "$red" "$killed_at" "$plain"
"$trainer" run "$job" --out "$work/killed"
read -r resumed_from replayed class < <("${inputs[@]}" resumed "$work/killed/events.jsonl")

say "3. Compare"
quiet=$(checkpoint_folder "$work/undisturbed" "$steps")
loud=$(checkpoint_folder "$work/killed" "$steps")
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
row "Killed after step" "$killed_at of $steps"
row "Resumed from checkpoint" "step $resumed_from ($class), $replayed steps replayed"
row "Adapter and optimizer" "$verdict"
row "Held-out loss" "$before before, $after after"
row "Adapter" "${adapter#"$root"/}"
row "Time" "$((SECONDS - started)) s"
printf '  %s\n' "-----------------------------------------------------------------------"
((equal)) || fail "The resumed run differs from the undisturbed one."
((fell)) || fail "The held-out loss did not fall."
printf '\n%sTry it:%s %s generate %s --adapter %s --chat "%s"\n' "$bold" "$plain" \
  "${trainer#"$root"/}" "${model#"$root"/}" "${adapter#"$root"/}" "$question"

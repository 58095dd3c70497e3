"""`ratchet-trainer run` as a user meets it: stops, resumes, refusals, and what it says."""

import json
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import unittest

from support import (HELD_OUT, LIMIT_S, MODEL, TRAINER, Folder, checkpoints, digest, events,
                     final_hashes, quiet_environment, wait_until)


def ask(out, request):
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(30)
        control.connect(str(out / "control.sock"))
        control.sendall(json.dumps(request).encode() + b"\n")
        reply = b""
        while chunk := control.recv(65536):
            reply += chunk
    return json.loads(reply)


class Run(Folder):
    def steps(self, out):
        return len(events(out, "step"))

    def test_stop_at_step_saves_and_the_same_command_finishes(self):
        spec = self.spec()
        self.run_trainer(spec, self.folder / "whole")
        out = self.folder / "halves"
        _, stderr = self.run_trainer(spec, out, "--stop-at-step", "7", expect=3)
        self.assertIn("ratchet-trainer run", stderr)
        self.assertEqual(checkpoints(out)[-1].name, "step-00000007")
        self.run_trainer(spec, out)
        resume = events(out, "resume")[-1]
        self.assertEqual((resume["step"], resume["class"]), (7, "A"))
        self.assertEqual(final_hashes(out), final_hashes(self.folder / "whole"))

    def test_sigterm_saves_the_last_complete_step_in_time(self):
        spec = self.spec(checkpoint={"interval_steps": 1000})
        out = self.folder / "out"
        process = self.start(spec, out)
        wait_until(lambda: self.steps(out) >= 3, process)
        begun = time.monotonic()
        self.kill(process, signal.SIGTERM)
        self.assertEqual(process.returncode, 3)
        self.assertLess(time.monotonic() - begun, 5.5)  # the promise of --sigterm-deadline-ms
        record = events(out, "exit")[-1]
        self.assertEqual(record["kind"], "preempted")
        self.assertEqual(checkpoints(out)[-1].name, f"step-{record['step']:08d}")
        self.assertGreaterEqual(record["step"], 3)
        self.run_trainer(spec, out)
        self.run_trainer(spec, self.folder / "whole")
        self.assertEqual(final_hashes(out), final_hashes(self.folder / "whole"))

    def test_no_step_is_told_that_is_not_saved(self):
        """A step that ends while the last one is being saved does not count: nothing is replayed."""
        spec = self.spec(checkpoint={"interval_steps": 1000})
        out = self.folder / "out"
        stops = 0
        for round_number in range(6):
            process = self.start(spec, out)
            seen = self.steps(out)
            wait_until(lambda: self.steps(out) >= seen + 2, process)
            time.sleep(0.007 * round_number)
            self.kill(process, signal.SIGTERM)
            if process.returncode == 0:
                break  # it finished first
            self.assertEqual(events(out, "exit")[-1]["step"], events(out, "step")[-1]["step"])
            stops += 1
        self.assertGreaterEqual(stops, 3)

    def test_ctrl_c_saves_and_prints_the_command(self):
        spec = self.spec()
        out = self.folder / "out"
        process = self.start(spec, out)
        wait_until(lambda: self.steps(out) >= 2, process)
        _, stderr = self.kill(process, signal.SIGINT)
        self.assertEqual(process.returncode, 3)
        self.assertIn(f"Go on with:  ratchet-trainer run {spec} --out {out}", stderr)

    def test_second_process_is_told_who_owns_the_folder(self):
        spec = self.spec()
        out = self.folder / "out"
        process = self.start(spec, out)
        wait_until(lambda: self.steps(out) >= 1, process)
        _, stderr = self.run_trainer(spec, out, expect=1)
        self.assertIn(f"pid {process.pid}", stderr)
        self.kill(process)

    def test_control_socket_answers_and_saves(self):
        spec = self.spec(checkpoint={"interval_steps": 1000})
        out = self.folder / "out"
        process = self.start(spec, out)
        wait_until(lambda: self.steps(out) >= 2, process)
        status = ask(out, {"request": "status"})
        self.assertTrue(status["ok"])
        self.assertEqual(status["stage"], "training")
        saved = ask(out, {"request": "checkpoint", "deadline_ms": 20000})
        self.assertTrue(saved["ok"], saved)
        self.assertTrue(os.path.isdir(saved["checkpoint"]["path"]))
        refused = ask(out, {"request": "dance"})
        self.assertFalse(refused["ok"])
        self.assertIn("dance", refused["error"])
        try:
            ask(out, {"request": "stop", "deadline_ms": 20000})
        except (ConnectionError, json.JSONDecodeError):
            pass  # the process leaves instead of answering
        process.communicate(timeout=LIMIT_S)
        self.assertEqual(process.returncode, 3)

    def test_changed_settings_and_data_are_refused_by_name(self):
        spec = self.spec()
        out = self.folder / "out"
        self.run_trainer(spec, out, "--stop-at-step", "5", expect=3)
        before = {path: digest(path / "MANIFEST.json") for path in checkpoints(out)}
        changed = self.spec("changed.json", lora={"rank": 8, "alpha": 16})
        _, stderr = self.run_trainer(changed, out, expect=1)
        self.assertIn("rank", stderr)
        rows = self.folder / "rows.jsonl"
        rows.write_text(rows.read_text().replace("Log of the night", "Log of the day", 1))
        _, stderr = self.run_trainer(spec, out, expect=1)
        self.assertIn("data", stderr)
        self.assertEqual({path: digest(path / "MANIFEST.json") for path in checkpoints(out)}, before)

    def test_micro_batch_may_change_and_the_class_says_so(self):
        spec = self.spec()
        out = self.folder / "out"
        self.run_trainer(spec, out, "--stop-at-step", "5", expect=3)
        self.run_trainer(self.spec("wider.json", training={"micro_batch": 2}), out)
        resume = events(out, "resume")[-1]
        self.assertEqual(resume["class"], "B")
        self.assertTrue(any("micro_batch" in reason for reason in resume["reasons"]), resume)

    def test_broken_checkpoint_is_passed_over_with_its_reason(self):
        spec = self.spec()
        self.run_trainer(spec, self.folder / "whole")
        out = self.folder / "out"
        self.run_trainer(spec, out, "--stop-at-step", "9", expect=3)
        newest = checkpoints(out)[-1] / "optimizer.safetensors"
        data = bytearray(newest.read_bytes())
        data[-5] ^= 0x10
        newest.write_bytes(data)
        self.run_trainer(spec, out)
        resume = events(out, "resume")[-1]
        self.assertEqual(resume["step"], 8)
        self.assertEqual(resume["rejected"][0]["rung"], "V2")
        self.assertEqual(final_hashes(out), final_hashes(self.folder / "whole"))

    def test_nothing_begins_again_over_broken_checkpoints(self):
        spec = self.spec()
        out = self.folder / "out"
        self.run_trainer(spec, out, "--stop-at-step", "9", expect=3)
        for path in checkpoints(out):
            (path / "trainer_state.json").unlink()
        _, stderr = self.run_trainer(spec, out, expect=1)
        self.assertIn("V1", stderr)
        self.assertIn("begin again", stderr)

    def test_resume_never_refuses_a_folder_with_checkpoints(self):
        spec = self.spec()
        out = self.folder / "out"
        self.run_trainer(spec, out, "--stop-at-step", "4", expect=3)
        _, stderr = self.run_trainer(spec, out, "--resume", "never", expect=1)
        self.assertIn("--out", stderr)

    def test_resume_from_a_named_checkpoint_replays_the_rest(self):
        spec = self.spec()
        out = self.folder / "out"
        self.run_trainer(spec, out)
        expected = final_hashes(out)
        older = checkpoints(out)[0]
        self.run_trainer(spec, out, "--resume", older)
        self.assertEqual(final_hashes(out), expected)
        self.assertTrue(events(out, "step")[-1]["replayed"])

    def test_non_finite_loss_stops_with_the_step_and_the_rows(self):
        broken = self.folder / "broken"
        shutil.copytree(MODEL, broken)
        weights = bytearray((broken / "model.safetensors").read_bytes())
        weights[-4:] = struct.pack("<f", math.nan)
        (broken / "model.safetensors").write_bytes(weights)
        spec = self.spec(base_model=str(broken))
        out = self.folder / "out"
        self.run_trainer(spec, out, expect=1)
        record = events(out, "exit")[-1]
        self.assertEqual(record["kind"], "non_finite")
        self.assertTrue(record["evidence"]["sample_ids"])
        self.assertEqual(record["evidence"]["quantity"], "loss")
        self.assertEqual(record["evidence"]["failed_step"], 1)

    def test_early_stop_plateau_and_timeout_have_names(self):
        flat = {"learning_rate": 1e-12, "schedule": "constant", "data_epochs": 10}
        out = self.folder / "plateau"
        self.run_trainer(self.spec("plateau.json", training=merge_plateau(flat)), out, expect=1)
        self.assertEqual(events(out, "exit")[-1]["kind"], "loss_plateau")
        out = self.folder / "early"
        early = dict(flat, early_stop={"patience": 2, "min_delta": 0.01})
        self.run_trainer(self.spec("early.json", training=early,
                                   data={"validation": str(HELD_OUT), "evaluate_every": 2}), out)
        self.assertIn("Early stop", events(out, "exit")[-1]["message"])
        self.assertEqual(len(events(out, "evaluation")), 3)
        out = self.folder / "timeout"
        self.run_trainer(self.spec("timeout.json", training=dict(flat, timeout_s=1,
                                                                data_epochs=1000)), out, expect=1)
        self.assertEqual(events(out, "exit")[-1]["kind"], "timeout")

    def test_best_checkpoint_is_kept(self):
        spec = self.spec(data={"validation_share": 0.2, "evaluate_every": 3},
                         checkpoint={"interval_steps": 5, "keep": 1},
                         training={"learning_rate": 0.05, "schedule": "constant"})
        out = self.folder / "out"
        self.run_trainer(spec, out)
        best = [event["step"] for event in events(out, "evaluation") if event["best"]][-1]
        self.assertIn(f"step-{best:08d}", [path.name for path in checkpoints(out)])

    def test_data_faults_end_before_the_model_is_loaded(self):
        rows = self.folder / "rows.jsonl"
        rows.write_text(rows.read_text() + '{"messages": []}\n{"messages": "x"}\n')
        out = self.folder / "out"
        _, stderr = self.run_trainer(self.spec(), out, expect=1)
        self.assertEqual(events(out, "exit")[-1]["kind"], "data_error")
        self.assertNotIn("model_load", [event["stage"] for event in events(out, "stage")])
        self.assertIn("25", stderr)

    def test_every_fault_of_a_spec_is_named_at_once(self):
        path = self.folder / "bad.json"
        path.write_text(json.dumps({"name": 3, "lora": {"rnk": 8, "rank": 0}}))
        process = subprocess.run([TRAINER, "run", path], capture_output=True, text=True)
        self.assertEqual(process.returncode, 1)
        for part in ("$.name", "$.lora.rnk", "$.lora.rank", "$.base_model", "$.data"):
            self.assertIn(part, process.stderr)

    def test_two_ranks_survive_the_death_of_one(self):
        spec = self.spec(devices={"kind": "cpu", "count": 2})
        self.run_trainer(spec, self.folder / "whole")
        out = self.folder / "out"
        process = self.start(spec, out)
        wait_until(lambda: self.steps(out) >= 3, process)
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True,
                                  check=True).stdout.split()
        self.assertEqual(len(children), 1)
        os.kill(int(children[0]), signal.SIGKILL)
        begun = time.monotonic()
        process.communicate(timeout=LIMIT_S)
        self.assertLess(time.monotonic() - begun, 30)  # the promise: the other leaves within 30 s
        self.assertEqual(process.returncode, 1)
        self.assertIn("Rank 1", events(out, "exit")[-1]["message"])
        self.run_trainer(spec, out)
        self.assertEqual(final_hashes(out), final_hashes(self.folder / "whole"))

    def test_two_ranks_stop_together(self):
        spec = self.spec(devices={"kind": "cpu", "count": 2})
        out = self.folder / "out"
        self.run_trainer(spec, out, "--stop-at-step", "3", expect=3)
        self.assertEqual(events(out, "exit")[-1]["step"], 3)
        self.run_trainer(spec, out)
        self.run_trainer(spec, out)  # a finished job is told so, and its result written again
        self.assertEqual(events(out, "exit")[-1]["kind"], "completed")

    def test_ranks_die_with_their_leader(self):
        spec = self.spec(devices={"kind": "cpu", "count": 2})
        out = self.folder / "out"
        process = self.start(spec, out)
        wait_until(lambda: self.steps(out) >= 1, process)
        child = int(subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True,
                                   text=True, check=True).stdout)
        self.kill(process)
        wait_until(lambda: not os.path.exists(f"/proc/{child}"), limit_s=30, pause_s=0.05)

    def test_two_ranks_see_the_samples_of_one(self):
        self.run_trainer(self.spec("one.json"), self.folder / "one")
        self.run_trainer(self.spec("two.json", devices={"kind": "cpu", "count": 2}),
                         self.folder / "two")
        states = [json.loads((checkpoints(self.folder / name)[-1] / "trainer_state.json")
                             .read_text()) for name in ("one", "two")]
        self.assertEqual(states[0]["consumed_samples"], states[1]["consumed_samples"])
        losses = [[event["loss"] for event in events(self.folder / name, "step")]
                  for name in ("one", "two")]
        for one, two in zip(*losses):
            self.assertAlmostEqual(one, two, delta=1e-4)

    def test_full_training_resumes_exactly(self):
        spec = self.spec(method="full", lora=None, training={"learning_rate": 1e-4})
        self.run_trainer(spec, self.folder / "whole")
        out = self.folder / "out"
        self.run_trainer(spec, out, "--stop-at-step", "6", expect=3)
        self.run_trainer(spec, out)
        for name in ("model.safetensors", "optimizer.safetensors"):
            self.assertEqual(digest(checkpoints(out)[-1] / name),
                             digest(checkpoints(self.folder / "whole")[-1] / name))
        process = subprocess.run([TRAINER, "inspect", out / "model", "--json"],
                                 capture_output=True, text=True, env=quiet_environment())
        self.assertEqual(process.returncode, 0, process.stderr)

    def test_nf4_and_dora_learn_and_resume_exactly(self):
        spec = self.spec(quantization="nf4", lora={"dora": True}, training={"learning_rate": 5e-3})
        whole, out = self.folder / "whole", self.folder / "killed"
        self.run_trainer(spec, whole)
        self.assertIn("NF4", " ".join(event["detail"] for event in events(whole, "stage")))
        process = self.start(spec, out)
        self.assertTrue(wait_until(lambda: len(checkpoints(out)) >= 2, process))
        self.kill(process)
        self.run_trainer(spec, out)
        self.assertEqual(events(out, "resume")[-1]["class"], "A")
        self.assertEqual(final_hashes(out), final_hashes(whole))
        config = json.loads((out / "adapter" / "adapter_config.json").read_text())
        self.assertIs(config["use_dora"], True)
        losses = [event["loss"] for event in events(whole, "step")]
        self.assertLess(losses[-1], losses[0] / 2)

        def held_out(*words):
            done = subprocess.run([TRAINER, "eval", MODEL, HELD_OUT, "--json", *words], text=True,
                                  capture_output=True, env=quiet_environment(), check=True)
            return json.loads(done.stdout)["mean_loss"]
        adapter = ("--adapter", out / "adapter")
        self.assertLess(held_out(*adapter, "--quantization", "nf4"), held_out("--quantization", "nf4"))
        self.assertNotEqual(held_out(*adapter, "--quantization", "nf4"), held_out(*adapter))
        _, stderr = self.run_trainer(self.spec("dense.json", lora={"dora": True}), out, expect=1)
        self.assertIn("quantization", stderr)

    def test_8bit_moments_learn_and_resume_exactly(self):
        """Killed in the middle, it ends with the bits of a run that was not; and it learns as AdamW
        with fp32 moments does."""
        learning = {"learning_rate": 5e-3, "data_epochs": 5}
        spec = self.spec(optimizer={"kind": "adamw_8bit"}, training=learning)
        whole = self.folder / "whole"
        self.run_trainer(spec, whole)
        self.assertIn("moments 8-bit", " ".join(e["detail"] for e in events(whole, "stage")))
        out = self.folder / "killed"
        process = self.start(spec, out)
        self.assertTrue(wait_until(lambda: len(checkpoints(out)) >= 2, process))
        self.kill(process)
        self.run_trainer(spec, out)
        resume = events(out, "resume")[-1]
        self.assertEqual(resume["class"], "A")
        self.assertGreaterEqual(resume["step"], 8)
        self.assertEqual(final_hashes(out), final_hashes(whole))

        fp32 = self.spec("fp32.json", training=learning)
        self.run_trainer(fp32, self.folder / "fp32")
        losses = [[event["loss"] for event in events(self.folder / name, "step")]
                  for name in ("whole", "fp32")]
        self.assertNotEqual(losses[0], losses[1])
        # The loss falls from 7.7 to 1.3, and an 8-bit moment is off by up to a few percent.
        self.assertLess(losses[1][-1], losses[1][0] / 4)
        for eight_bit, exact in zip(*losses):
            self.assertAlmostEqual(eight_bit, exact, delta=0.02 * exact)
        _, stderr = self.run_trainer(fp32, whole, expect=1)
        self.assertIn("optimizer.kind", stderr)

    def test_8bit_moments_are_refused_on_a_gpu_before_anything_is_loaded(self):
        spec = self.spec(optimizer={"kind": "adamw_8bit"}, devices={"kind": "cuda"})
        for words in (["check", spec], ["run", spec, "--out", self.folder / "out"]):
            process = subprocess.run([TRAINER, *words], capture_output=True, text=True)
            self.assertEqual(process.returncode, 1)
            self.assertIn("adamw_8bit", process.stderr)
            self.assertIn('write "adamw"', process.stderr)
        stages = [event["stage"] for event in events(self.folder / "out", "stage")]
        self.assertNotIn("preprocessing", stages)

    def test_continue_from_another_adapter(self):
        first = self.folder / "first"
        self.run_trainer(self.spec(), first)
        spec = self.spec("next.json", lora={"init_adapter": str(first / "adapter")})
        self.run_trainer(spec, self.folder / "next")
        begin = events(first, "step")[0]["loss"]
        self.assertLess(events(self.folder / "next", "step")[0]["loss"], begin)
        for adapter in (first, self.folder / "next"):
            config = json.loads((adapter / "adapter" / "adapter_config.json").read_text())
            self.assertEqual(config["base_model_name_or_path"], str(MODEL))


def merge_plateau(training):
    return dict(training, loss_plateau={"window_steps": 5, "min_delta": 0.5})


if __name__ == "__main__":
    unittest.main()

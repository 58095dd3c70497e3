#!/usr/bin/env python3
"""The demo's data and script, without trainer and cluster: its verdicts are tested with stand-ins."""

import base64
import hashlib
import hmac
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "deploy" / "demo"
SHIPPED_BYTES_MAX = 6_000_000


def questions(path):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [turn["content"] for row in rows for turn in row["messages"] if turn["role"] == "user"]


class DataTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        subprocess.run([sys.executable, DEMO / "make_chats.py", self.folder], check=True)

    def test_shipped_conversations_are_what_the_script_makes(self):
        for name in ("train.jsonl", "heldout.jsonl"):
            self.assertEqual((self.folder / name).read_bytes(), (DEMO / "data" / name).read_bytes(),
                             f"deploy/demo/data/{name} is not what make_chats.py writes")

    def test_held_out_questions_are_in_no_training_file(self):
        held = set(questions(self.folder / "heldout.jsonl"))
        self.assertEqual(len(held), len(questions(self.folder / "heldout.jsonl")), "a repeat")
        self.assertFalse(held & set(questions(self.folder / "train.jsonl")))
        self.assertFalse(held & set(questions(self.folder / "plain.jsonl")))

    def test_stories_are_reproducible_and_never_in_the_taught_voice(self):
        texts = []
        for name in ("a.jsonl", "b.jsonl"):
            path = self.folder / name
            subprocess.run([sys.executable, DEMO / "make_text.py", path, "--rows", "400"], check=True)
            texts.append(path.read_text(encoding="utf-8"))
        self.assertEqual(texts[0], texts[1])
        self.assertNotIn("Log of the night:", texts[0])
        rows = [json.loads(line)["text"] for line in texts[0].splitlines()]
        self.assertEqual(len(rows), 400)
        self.assertGreater(len(set(rows)), 390)

    def test_what_ships_is_small(self):
        size = sum(path.stat().st_size for folder in ("base", "data")
                   for path in (DEMO / folder).glob("*"))
        self.assertLess(size, SHIPPED_BYTES_MAX)


class ScriptTest(unittest.TestCase):
    def demo(self, *arguments, fault=""):
        """Runs demo.sh over the stand-in; (exit status, stdout + stderr)."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        environment = os.environ | {
            "RATCHET_TRAINER": str(ROOT / "tests/demo/stand_in_trainer.py"),
            "DEMO_CLUSTER": str(ROOT / "tests/demo/stand_in_cluster.py"),
            "DEMO_WORK": f"{folder}/run", "STAND_IN": fault, "PYTHON": sys.executable}
        for name in ("MODEL", "DATA", "QUESTION", "KILL_AT"):
            environment.pop(name, None)
        done = subprocess.run([DEMO / "demo.sh", *arguments], env=environment, text=True,
                              capture_output=True, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def own_data(self, rows):
        path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "own.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return f"DATA={path}"

    def test_deaths_and_a_resume_with_equal_bits_pass(self):
        status, output = self.demo("KILL_AT=60")
        self.assertEqual(status, 0, output)
        self.assertRegex(output, r"Node killed after step\s+55 of 300")
        self.assertRegex(output, r"Resumed on the other node\s+from step 50, 5 steps replayed")
        self.assertIn("equal, bit for bit", output)
        self.assertIn("2.0000 before, 1.0000 after", output)
        self.assertIn("      as taught", output)
        self.assertNotIn("\x1b", output, "colours without a terminal")

    def test_the_kill_lies_between_checkpoints_early_enough(self):
        status, output = self.demo()
        self.assertEqual(status, 0, output)
        step = int(output.split("kill the node at step ")[1].split(",")[0])
        self.assertNotEqual(step % 25, 0)
        self.assertTrue(25 < step < 120, step)

    def test_different_bits_fail(self):
        status, output = self.demo("KILL_AT=60", fault="drift")
        self.assertEqual(status, 1, output)
        self.assertIn("DIFFERENT", output)

    def test_a_run_that_replays_nothing_proves_nothing(self):
        status, output = self.demo("KILL_AT=60", fault="calm")
        self.assertEqual(status, 1, output)
        self.assertIn("No step was replayed", output)

    def test_a_loss_that_does_not_fall_fails(self):
        status, output = self.demo("KILL_AT=60", fault="rise")
        self.assertEqual(status, 1, output)
        self.assertIn("did not fall", output)

    def test_a_claim_of_the_cluster_that_does_not_hold_fails(self):
        status, output = self.demo("KILL_AT=60", fault="broken")
        self.assertEqual(status, 1, output)
        self.assertIn("A claim of the cluster does not hold", output)

    def test_own_data_is_split_and_its_question_asked(self):
        rows = [{"question": f"What is {i}?", "answer": str(i)} for i in range(30)]
        status, output = self.demo("KILL_AT=60", self.own_data(rows))
        self.assertEqual(status, 0, output)
        self.assertIn("What is 27?", output)

    def test_one_row_is_refused_with_the_way_out(self):
        status, output = self.demo(self.own_data([{"question": "Why?", "answer": "So."}]))
        self.assertEqual(status, 1)
        self.assertIn("one conversation a line", output)

    def test_an_unknown_argument_is_wrong_usage(self):
        status, output = self.demo("MODLE=x")
        self.assertEqual(status, 2)
        self.assertIn("MODLE=x", output)


class WebhookTest(unittest.TestCase):
    """The receiver's verdicts, with the example of the Standard Webhooks specification."""

    SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    def setUp(self):
        sys.path.insert(0, str(DEMO))
        self.addCleanup(sys.path.remove, str(DEMO))
        self.receiver = importlib.import_module("webhook_receiver")

    def headers(self, body, secret=SECRET, age_s=0):
        stamp = str(int(time.time()) - age_s)
        key = base64.b64decode(secret.removeprefix("whsec_"))
        mac = hmac.new(key, f"msg_1.{stamp}.".encode() + body, hashlib.sha256).digest()
        return {"webhook-id": "msg_1", "webhook-timestamp": stamp,
                "webhook-signature": "v1,AAAA v1," + base64.b64encode(mac).decode()}

    def test_only_a_fresh_signature_over_these_bytes_holds(self):
        holds = self.receiver.signature_holds
        body = b'{"type": "job.started"}'
        self.assertTrue(holds(self.SECRET, self.headers(body), body))
        self.assertFalse(holds(self.SECRET, self.headers(body), body + b" "))
        self.assertFalse(holds("whsec_AAAA", self.headers(body), body))
        self.assertFalse(holds(self.SECRET, self.headers(body, age_s=3600), body))
        self.assertFalse(holds(self.SECRET, {}, body))


if __name__ == "__main__":
    unittest.main()

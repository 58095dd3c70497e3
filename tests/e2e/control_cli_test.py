"""`ratchet` against a real control plane without nodes: what works, and mistakes on purpose."""

import json
import os
import pathlib
import re
import signal
import subprocess
import unittest

from cluster_support import PROGRAMS, QUIET, ClusterTest, api
from support import SOURCE

COMMANDS = ("up", "login", "submit", "validate", "list", "show", "watch", "logs", "pause", "resume",
            "cancel", "checkpoints", "download", "nodes", "drain", "undrain", "simulate-reclaim")
GROUPS = {"webhooks": ("add", "list", "remove", "rotate", "test", "deliveries", "replay"),
          "tokens": ("create", "list", "revoke")}
OK, FAILED, USAGE, JOB_FAILED, NOT_FOUND, UNREACHABLE, NOT_ALLOWED = range(7)


def ratchet(*words, environment=None, stdin=None):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RATCHET_")}
    done = subprocess.run([PROGRAMS / "ratchet", *map(str, words)], input=stdin, text=True,
                          capture_output=True, timeout=60, check=False,
                          env={**clean, **QUIET, **(environment or {})})
    return done.returncode, done.stdout, done.stderr


class Help(unittest.TestCase):
    def test_every_command_teaches(self):
        paths = [(name,) for name in COMMANDS]
        paths += [(group, name) for group, names in GROUPS.items() for name in names]
        for path in paths:
            code, out, _ = ratchet(*path, "--help")
            self.assertEqual(code, OK, path)
            self.assertIn("Example", out, path)
            self.assertIn("--json", out, path)


class Programs(unittest.TestCase):
    def run_program(self, name, *words):
        return subprocess.run([PROGRAMS / name, *words], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=60, check=False)

    def test_all_say_the_version_that_the_changelog_begins_with(self):
        changes = (SOURCE / "CHANGELOG.md").read_text(encoding="utf-8")
        version = re.search(r"^## (\S+)", changes, re.MULTILINE)[1]
        for name in ("ratchet", "ratchet-agent", "ratchet-control", "ratchet-trainer"):
            done = self.run_program(name, "--version")
            self.assertEqual((done.returncode, done.stdout), (OK, f"{name} {version}\n"), done.stderr)

    def test_wrong_usage_leaves_with_2(self):
        for name, *words in (("ratchet-agent", "--control", "x", "--state", "y"),
                             ("ratchet-control",), ("ratchet-trainer", "run")):
            done = self.run_program(name, *words, "--sate", "x")
            self.assertEqual((done.returncode, done.stdout), (USAGE, ""))
            self.assertIn("--sate", done.stderr)


class Mistakes(ClusterTest):
    def test_nobody_there(self):
        url = "http://127.0.0.1:9"
        login = {"RATCHET_LOGIN": str(self.folder / "absent.json")}
        code, _, err = ratchet("list", environment=login)
        self.assertEqual(code, NOT_ALLOWED)
        self.assertIn("ratchet up", err)
        code, out, err = ratchet("show", "x", "--server", url, "--json", environment=login)
        self.assertEqual((code, err), (UNREACHABLE, ""))
        self.assertEqual(json.loads(out)["error"]["code"], "control_plane_unreachable")
        self.assertEqual(ratchet("list", "--server", "nonsense", environment=login)[0], FAILED)

    def test_wrong_usage(self):
        for words in ((), ("lst",), ("show",), ("list", "--limit", "none"), ("tokens",),
                      ("tokens", "create", "--scope", "god"), ("webhooks", "replay", "x")):
            self.assertEqual(ratchet(*words)[0], USAGE, words)

    def test_bad_spec_without_a_control_plane(self):
        spec = self.spec(training={"learning_rate": -1}, lora={"rnk": 4})
        code, out, _ = ratchet("validate", spec, "--json")
        self.assertEqual(code, FAILED)
        self.assertEqual({finding["path"] for finding in json.loads(out)["findings"]},
                         {"$.training.learning_rate", "$.lora.rnk"})
        self.assertEqual(ratchet("validate", self.folder / "absent.json")[0], NOT_FOUND)
        self.assertEqual(ratchet("validate", self.spec())[0], OK)


class WithoutNodes(ClusterTest):
    def setUp(self):
        super().setUp()
        self.control = self.cluster(nodes=0)

    def refused(self, *words, code):
        """The error object of a command that must fail with this exit code."""
        self.assertIsNone(self.control.up.poll())
        exit_code, out, err = ratchet(*words, "--json", environment={
            "RATCHET_LOGIN": self.control.environment["RATCHET_LOGIN"]})
        self.assertEqual((exit_code, err), (code, ""), f"{words}: {out}")
        error = json.loads(out)["error"]
        self.assertTrue(error["message"].endswith("."), error)
        return error

    def test_the_life_of_a_job_that_waits(self):
        ask = self.control.ask
        job = ask("submit", self.spec(), "--name", "first", "--priority", 3)
        self.assertEqual((job["state"], job["name"], job["priority"]), ("queued", "first", 3))
        again = ask("submit", self.spec(), "--idempotency-key", "k-1")
        self.assertEqual(ask("submit", self.spec(), "--idempotency-key", "k-1")["id"], again["id"])
        self.assertEqual({item["id"] for item in ask("list", "--all")}, {job["id"], again["id"]})
        self.assertEqual(ask("pause", job["id"])["state"], "paused")
        self.assertEqual(ask("pause", job["id"])["state"], "paused", "twice is fine")
        self.assertEqual(ask("resume", job["id"])["state"], "queued")
        self.assertEqual(ask("cancel", job["id"])["state"], "cancelled")
        self.assertEqual(self.control.ask("list", "--state", "cancelled")[0]["id"], job["id"])
        self.refused("resume", job["id"], code=FAILED)
        self.refused("pause", job["id"], code=FAILED)
        self.control.cli("watch", job["id"], expect=JOB_FAILED)
        self.refused("download", job["id"], code=NOT_FOUND)
        self.assertIn("cancelled", self.control.cli("show", job["id"]))
        events = self.assert_no_gap(self.control, job["id"])
        self.assertEqual(events[0]["type"], "job.created")

    def test_what_is_not_there(self):
        for words in (("show", "nothing"), ("watch", "nothing"), ("logs", "nothing"),
                      ("pause", "nothing"), ("cancel", "nothing"), ("checkpoints", "nothing"),
                      ("download", "nothing"), ("drain", "nothing"), ("simulate-reclaim", "nothing"),
                      ("webhooks", "remove", "nothing"), ("tokens", "revoke", "nothing")):
            self.refused(*words, code=NOT_FOUND)
        self.refused("submit", self.spec(base_model="/nowhere"), code=NOT_FOUND)

    def test_tokens_and_what_they_open(self):
        made = self.control.ask("tokens", "create", "--scope", "user", "--tenant", "other",
                                "--name", "eve")
        job = self.control.ask("submit", self.spec())
        url = self.control.url
        eve = {"RATCHET_URL": url, "RATCHET_TOKEN": made["token"]}
        code, out, _ = ratchet("list", "--json", environment=eve)
        self.assertEqual((code, json.loads(out)), (OK, []))
        self.assertEqual(ratchet("show", job["id"], environment=eve)[0], NOT_FOUND)
        self.assertEqual(ratchet("cancel", "--yes", job["id"], environment=eve)[0], NOT_FOUND)
        self.assertEqual(ratchet("tokens", "list", environment=eve)[0], NOT_ALLOWED)
        wrong = {"RATCHET_URL": url, "RATCHET_TOKEN": "rt_wrong"}
        self.assertEqual(ratchet("list", environment=wrong)[0], NOT_ALLOWED)
        code, _, err = ratchet("login", url, stdin="rt_wrong\n", environment={
            "RATCHET_LOGIN": str(self.folder / "login.json")})
        self.assertEqual(code, NOT_ALLOWED, err)
        self.assertFalse((self.folder / "login.json").exists())
        everywhere = b"".join(path.read_bytes() for path in self.control.state.rglob("*")
                              if path.is_file())
        self.assertNotIn(made["token"].encode(), everywhere, "a token is stored in clear")

    def test_webhooks(self):
        ask = self.control.ask
        made = ask("webhooks", "add", "http://127.0.0.1:9/hook", "--event", "job.created")
        self.assertTrue(made["secret"].startswith("whsec_"))
        listed = ask("webhooks", "list")
        self.assertEqual([item["id"] for item in listed], [made["id"]])
        self.assertNotIn(made["secret"], json.dumps(listed))
        self.assertNotEqual(ask("webhooks", "rotate", made["id"])["secret"], made["secret"])
        ask("webhooks", "test", made["id"])
        self.control.wait(lambda: ask("webhooks", "deliveries", made["id"]), 30, "a delivery")
        self.control.cli("webhooks", "remove", made["id"])
        self.assertEqual(ask("webhooks", "list"), [])
        self.refused("webhooks", "add", "http://169.254.169.254/latest", code=FAILED)

    def test_up_says_that_training_goes_on_and_comes_back(self):
        job = self.control.ask("submit", self.spec())
        before = self.control.control()
        before.send(signal.SIGKILL)
        self.control.wait(lambda: self.control.control() not in (None, before)
                          and self.control.ask("list") is not None, 60, "a new control plane")
        self.assertEqual(self.control.job(job["id"])["state"], "queued")
        self.control.stop()
        told = [json.loads(line) for line in
                pathlib.Path(self.control.log.name).read_text().splitlines()]
        self.assertEqual([event["event"] for event in told], ["serving", "restarted", "stopped"])
        self.assertIn("ratchet up", told[-1]["come_back"])
        self.assertIsNone(self.control.control())
        self.control.start()
        self.assertEqual(self.control.job(job["id"])["state"], "queued")
        self.assertEqual(api(self.control, "/v1/health")["ok"], True)


if __name__ == "__main__":
    unittest.main()

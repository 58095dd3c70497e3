"""The disk runs full, under the control plane and under an agent: it is said, training does the best that
there is room for, nothing that was acknowledged or sealed is lost, and all goes on by itself when there is
room again. The disk is a tmpfs in a mount namespace of the test; skipped where it may not mount."""

import os
import pathlib
import shutil
import subprocess
import time
import unittest

from cluster_support import PROGRAMS, CliError, ClusterTest, api, urllib
from fault_support import MIB, NO_MOUNTS, SmallDisk, StaticNode, own_mounts
from support import MODEL

STEPS = 600  # seconds enough for what happens meanwhile
RESERVE = 8 * MIB
PLENTY = 1024 * MIB  # an agent wants 256 MiB beyond what it fetches


class DiskFull(ClusterTest):
    may_mount = None
    expected = None  # the same for all

    def setUp(self):
        super().setUp()
        if DiskFull.may_mount is None:
            DiskFull.may_mount = own_mounts()
        if not self.may_mount:
            self.skipTest(NO_MOUNTS)

    def long_job(self):
        spec = self.spec("long.json", training={"data_epochs": None, "max_steps": STEPS},
                         checkpoint={"interval_steps": 10})
        DiskFull.expected = self.expected or self.undisturbed(spec)
        return spec

    def wait_for_steps(self, cluster, node, job_id, more, limit_s=120):
        until = min(node.steps_done(job_id) + more, STEPS)
        cluster.wait(lambda: node.steps_done(job_id) >= until, limit_s, f"{more} more steps")

    def wait_for_head(self, cluster, job_id, above=0):
        return cluster.wait(lambda: (job := cluster.job(job_id)) and job["head"]["step"] > above
                            and job, 120, f"a checkpoint above step {above}", pause_s=0.3)

    def assert_undisturbed(self, cluster, job_id):
        job = self.wait_over(cluster, job_id)
        self.assertEqual(job["state"], "completed", job["failure"])
        self.assertEqual((job["epoch"], job["attempts"], job["interruptions"]), (1, 1, 0))
        self.assertEqual(self.final_hashes(cluster, job_id), self.expected)
        self.assert_head_only_rises(self.assert_no_gap(cluster, job_id))


class ControlPlaneDiskFull(DiskFull):
    def begin(self):
        """A control plane on a small disk, and a job that trains on a node elsewhere."""
        spec = self.long_job()
        disk = SmallDisk(self, self.folder / "state", PLENTY)
        cluster = self.cluster(nodes=0, settings=[f"disk_reserve_bytes = {RESERVE}"])
        node = StaticNode(self, cluster, "node-1")
        cluster.wait(lambda: cluster.ask("nodes"), 60, "the node")
        job_id = cluster.ask("submit", spec)["id"]
        self.wait_for_head(cluster, job_id)
        return disk, cluster, node, job_id

    def test_uploads_wait_for_room(self):
        disk, cluster, node, job_id = self.begin()
        disk.leave(RESERVE // 2)
        self.wait_for_steps(cluster, node, job_id, 20)
        time.sleep(1)  # what had arrived already is still taken
        head = cluster.job(job_id)["head"]["step"]
        self.wait_for_steps(cluster, node, job_id, 40)
        health = api(cluster, "/v1/health")
        self.assertEqual((health["ok"], health["artifacts"]["ok"]), (False, False))
        self.assertIn("full", health["artifacts"]["message"])
        self.assertTrue(health["store"]["ok"], "its reserve is for the store")
        shutil.copytree(MODEL, self.folder / "other", dirs_exist_ok=True)
        (self.folder / "other" / "notes.txt").write_text("another model")
        with self.assertRaises(CliError) as refused:
            cluster.cli("submit", self.spec("other.json", base_model=str(self.folder / "other")),
                        "--json")
        self.assertEqual(refused.exception.code, 1)
        self.assertIn('"storage_full"', refused.exception.output)
        self.assertIn("ask the operator for more room", refused.exception.output)
        during = cluster.job(job_id)
        self.assertEqual((during["state"], during["epoch"]), ("training", 1))
        self.assertEqual(during["head"]["step"], head)
        disk.leave(PLENTY)
        self.wait_for_head(cluster, job_id, above=head)
        self.assertTrue(api(cluster, "/v1/health")["artifacts"]["ok"])
        self.assert_undisturbed(cluster, job_id)

    def submit_later(self, cluster, like, number):
        """A job that begins in an hour; its id, or the error of the API."""
        body = {"spec": {**like["spec"], "name": f"later-{number}"}, "inputs": like["inputs"],
                "starts_at_ms": int(time.time() * 1000) + 3600_000}
        try:
            return api(cluster, "/v1/jobs", method="POST", body=body)["id"], None
        except urllib.error.HTTPError as error:
            return None, (error.code, error.read().decode())

    def test_the_store_refuses_clearly_and_comes_back(self):
        disk, cluster, node, job_id = self.begin()
        like = cluster.job(job_id)
        acknowledged, refusals = [], []
        disk.leave(0)
        for number in range(3000):
            made, error = self.submit_later(cluster, like, number)
            if made:
                acknowledged.append(made)
            else:
                refusals.append(error)
            if len(refusals) == 20:
                break
            time.sleep(0.1 if error else 0)
        self.assertEqual(len(refusals), 20, "the store never noticed its full disk")
        self.assertLessEqual({status for status, _ in refusals}, {503, 507}, refusals[:3])
        self.assertIn('"storage_full"', refusals[0][1])
        self.assertIn("next_step", refusals[0][1])
        health = api(cluster, "/v1/health")
        self.assertEqual((health["ok"], health["store"]["ok"]), (False, False))
        self.assertIn("full", health["store"]["message"])
        with self.assertRaises(CliError) as refused:
            cluster.cli("cancel", "--yes", job_id)
        self.assertIn("full", refused.exception.output)
        self.wait_for_steps(cluster, node, job_id, 20)
        disk.leave(PLENTY)
        cluster.wait(lambda: api(cluster, "/v1/health")["ok"], 30, "the store to be well")
        known = {item["id"] for item in cluster.ask("list", "--all")}
        self.assertLessEqual(set(acknowledged), known, "what was acknowledged is gone")
        self.assertEqual(len(known), len(acknowledged) + 1, "what was refused is there")
        self.assertIsNotNone(self.submit_later(cluster, like, "last")[0])
        self.assert_undisturbed(cluster, job_id)


    def test_a_start_on_a_full_disk_says_so(self):
        disk = SmallDisk(self, self.folder / "state", PLENTY)
        cluster = self.cluster(nodes=0)
        cluster.stop()
        disk.leave(0)
        up = subprocess.run([PROGRAMS / "ratchet", "up", "--nodes", "0", "--state", cluster.state,
                             "--login", self.folder / "login.json"],
                            capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(up.returncode, 0)
        self.assertIn("is full. Free some space", up.stdout + up.stderr)
        disk.leave(PLENTY)
        cluster.start()
        self.assertTrue(api(cluster, "/v1/health")["ok"])


class AgentDiskFull(DiskFull):
    def train_once(self, cluster, name):
        """A short job on a base model of its own, which the node then has no more use for; the id of
        the model's artifact."""
        model = self.folder / name
        shutil.copytree(MODEL, model)
        (model / "unused.bin").write_bytes(os.urandom(24 * MIB))
        spec = self.spec(f"{name}.json", base_model=str(model),
                         training={"data_epochs": None, "max_steps": 4})
        job = self.wait_over(cluster, cluster.ask("submit", spec)["id"])
        self.assertEqual(job["state"], "completed", job["failure"])
        return job["inputs"]["base_model"]["artifact_id"]

    @staticmethod
    def sealed_steps(node):
        """Steps of the checkpoints that are kept here for the control plane."""
        names = {path.name for path in node.state.glob("sealed/*/*")}
        return {int(name.partition("-")[0]) for name in names
                if not name.endswith(".dropped") and f"{name}.dropped" not in names}

    def wait_for_pause(self, cluster, node, job_id):
        cluster.wait(lambda: node.status()["disk_full"], 30, "the agent to see its full disk")
        cluster.wait(lambda: node.facts(cluster)["disk_full"], 30, "the control plane to know it")
        self.assertIn("disk full", cluster.cli("nodes"))
        stat = pathlib.Path(f"/proc/{node.trainer(job_id).pid}/stat").read_text(encoding="ascii")
        self.assertEqual(stat.rpartition(")")[2].split()[0], "T", "the trainer is not stopped")

    def test_the_oldest_cache_goes_first_and_then_training_pauses(self):
        spec = self.long_job()
        disk = SmallDisk(self, self.folder / "node-1", PLENTY)
        cluster = self.cluster(nodes=0)
        node = StaticNode(self, cluster, "node-1", flags=["--disk-reserve-mib", str(RESERVE // MIB)])
        cluster.wait(lambda: cluster.ask("nodes"), 60, "the node")
        oldest, newer = (node.state / "cache" / self.train_once(cluster, name)
                         for name in ("oldest", "newer"))
        job_id = cluster.ask("submit", spec)["id"]
        job = self.wait_for_head(cluster, job_id)
        used = node.state / "cache" / job["inputs"]["base_model"]["artifact_id"]
        self.assertTrue(oldest.exists() and newer.exists() and used.exists())

        disk.leave(RESERVE * 3 // 2)
        cluster.wait(lambda: not oldest.exists(), 30, "the oldest input to go")
        self.assertTrue(newer.exists() and used.exists(), "more went than was needed")
        disk.leave(RESERVE * 3 // 2)
        cluster.wait(lambda: not newer.exists(), 30, "the next input to go")
        self.assertTrue(used.exists(), "an input in use went")
        self.assertFalse(node.status()["disk_full"])

        disk.leave(RESERVE // 2)
        self.wait_for_pause(cluster, node, job_id)
        step, sealed = node.steps_done(job_id), self.sealed_steps(node)
        time.sleep(3)
        self.assertEqual(node.steps_done(job_id), step, "it trained on")
        head = cluster.job(job_id)["head"]["step"]
        for gone in sealed - self.sealed_steps(node):
            self.assertLessEqual(gone, head, "a sealed checkpoint is gone and was not taken")
        disk.leave(PLENTY)
        self.wait_for_steps(cluster, node, job_id, 5)
        self.assertFalse(node.status()["disk_full"])

        # At once, and to the last byte: some writes of the trainer fail before it is paused.
        disk.leave(0)
        self.wait_for_pause(cluster, node, job_id)
        time.sleep(3)
        disk.leave(PLENTY)
        self.assert_undisturbed(cluster, job_id)
        stalled = [event["data"]["reason"] for event in self.assert_no_gap(cluster, job_id)
                   if event["type"] == "job.stalled"]
        self.assertEqual(stalled, ["disk_full", "disk_full"])


if __name__ == "__main__":
    unittest.main()

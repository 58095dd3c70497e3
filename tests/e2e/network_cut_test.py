"""The network between agent and control plane is cut, in network namespaces made by the test:

  10 s and 60 s: training never stops, nothing is repeated, no new epoch
  longer than the authority lease (shortened): a fenced move; the head never goes back

Each node lives in a namespace of its own, joined by a veth pair. Needs root.
"""

import os
import subprocess
import time
import unittest

from cluster_support import PROGRAMS, QUIET, ClusterTest, LocalCluster, api
from fault_support import StaticNode

NO_NAMESPACES = "no network namespaces"
LONG_JOB = {"data_epochs": None, "max_steps": 100000}


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False)


class Namespace:
    """A network namespace `name`, joined to this one; its gateway is `host`."""

    count = 0

    def __init__(self, test):
        Namespace.count += 1
        number = os.getpid() % 200 * 4 + Namespace.count
        self.name = f"rt-{os.getpid()}-{Namespace.count}"
        self.link, inner = f"rt{os.getpid() % 100000}a{Namespace.count}", f"rt{os.getpid() % 100000}b{Namespace.count}"
        self.host = f"10.{200 + number // 250}.{number % 250}.1"
        made = run("ip", "netns", "add", self.name)
        if made.returncode != 0:
            test.skipTest(NO_NAMESPACES)
        test.addCleanup(run, "ip", "netns", "del", self.name)
        peer = self.host[:-1] + "2"
        for words in ((f"ip link add {self.link} type veth peer name {inner} netns {self.name}"),
                      f"ip addr add {self.host}/30 dev {self.link}",
                      f"ip link set {self.link} up",
                      f"ip -n {self.name} addr add {peer}/30 dev {inner}",
                      f"ip -n {self.name} link set {inner} up",
                      f"ip -n {self.name} link set lo up",
                      f"ip -n {self.name} route add default via {self.host}"):
            done = run(*words.split())
            if done.returncode != 0:
                test.skipTest(NO_NAMESPACES)
        test.addCleanup(run, "ip", "link", "del", self.link)

    def cut(self):
        run("ip", "link", "set", self.link, "down")

    def join(self):
        run("ip", "link", "set", self.link, "up")


class NetworkCut(ClusterTest):
    def control_plane(self, *settings):
        cluster = LocalCluster(PROGRAMS, self.folder / "state", nodes=0, environment=QUIET,
                               settings=["allow_plaintext = true", "backoff_ms = 300,600",
                                         *settings])
        cluster.listen_host = "0.0.0.0"
        self.addCleanup(cluster.end)
        cluster.start()
        return cluster

    def node(self, cluster, number):
        """A static node in a namespace of its own."""
        space = Namespace(self)
        return space, StaticNode(self, cluster, f"node-{number}", flags=["--allow-plaintext"],
                                 url=f"http://{space.host}:{cluster.port}",
                                 through=["ip", "netns", "exec", space.name])

    def wait_for_checkpoint(self, cluster, job_id):
        def committed():
            job = cluster.job(job_id)
            return job if job and job["head"]["artifact_id"] and job["state"] == "training" else None
        return cluster.wait(committed, 180, "a committed checkpoint", pause_s=0.5)

    def test_short_cuts_are_no_event(self):
        cluster = self.control_plane()
        space, node = self.node(cluster, 1)
        cluster.wait(lambda: cluster.ask("nodes"), 60, "the node")
        job_id = cluster.ask("submit", self.spec(training=LONG_JOB))["id"]
        before = self.wait_for_checkpoint(cluster, job_id)
        trainer = node.trainer(job_id)
        for seconds in (10, 60):
            step = node.steps_done(job_id)
            space.cut()
            time.sleep(seconds)
            during = node.steps_done(job_id)
            self.assertGreater(during, step, f"training stopped in a cut of {seconds} s")
            self.assertTrue(trainer.is_alive())
            space.join()
            cluster.wait(lambda: (cluster.job(job_id) or {"step": 0})["step"] > during, 120,
                         "news of the job", pause_s=0.5)
            after = cluster.job(job_id)
            self.assertEqual((after["epoch"], after["attempts"], after["interruptions"]),
                             (before["epoch"], before["attempts"], 0), seconds)
        cluster.cli("cancel", "--yes", job_id)
        self.wait_over(cluster, job_id)
        self.assert_no_gap(cluster, job_id)

    def test_a_cut_beyond_the_authority_lease_is_a_fenced_move(self):
        steps = 600
        spec = self.spec(training={"data_epochs": None, "max_steps": steps})
        expected = self.undisturbed(spec)
        cluster = self.control_plane("heartbeat_ms = 500", "suspect_after_ms = 1500",
                                     "contact_ttl_ms = 3000", "authority_ttl_ms = 8000",
                                     "inventory_window_ms = 6000")
        nodes = [self.node(cluster, 1), self.node(cluster, 2)]
        cluster.wait(lambda: len(cluster.ask("nodes") or []) == 2, 60, "two nodes")
        job_id = cluster.ask("submit", spec)["id"]
        before = self.wait_for_checkpoint(cluster, job_id)
        space, node = next(pair for pair in nodes if pair[1].trainer(job_id))
        old = node.trainer(job_id)
        space.cut()
        moved = cluster.wait(
            lambda: (job := cluster.job(job_id)) and job["epoch"] > before["epoch"] and job, 120,
            "a new epoch", pause_s=0.5)
        self.assertNotEqual(moved["node"], before["node"])
        self.assertTrue(old.is_alive() or node.steps_done(job_id) == steps,
                        "the trainer that nobody can reach trains on, to its end if it must")
        cluster.wait(lambda: (job := cluster.job(job_id)) and job["state"] == "training"
                     and job["step"] > 0, 120, "training on the other node", pause_s=0.5)
        space.join()
        job = self.wait_over(cluster, job_id)
        self.assertEqual(job["state"], "completed", job["failure"])
        self.assertEqual(self.final_hashes(cluster, job_id), expected)
        events = self.assert_no_gap(cluster, job_id)
        self.assert_head_only_rises(events)
        self.assert_one_at_a_time(cluster, job_id, fenced=True)
        cluster.wait(lambda: not old.is_alive(), 60, "the end of the old trainer", pause_s=0.5)
        for item in api(cluster, f"/v1/jobs/{job_id}/checkpoints")["items"]:
            if item["state"] == "committed":
                continue
            self.assertIn(item["state"], ("orphan", "adopted", "discarded", "retired"), item)


if __name__ == "__main__":
    unittest.main()

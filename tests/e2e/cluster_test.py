"""Real processes killed and stopped at random while jobs run: each job completes with the bits of an
undisturbed run, under one attempt at a time, with no gap in its events and every webhook delivered.

  cluster_test.py [--rounds N] [--seed S] [--verbose]
"""

import argparse
import random
import signal
import subprocess
import sys
import time
import unittest

from cluster_support import PROGRAMS, ClusterTest, Dashboard, Process, api, hold

ROUNDS = 10
SEED = 20261121
VICTIMS = ("trainer", "agent", "control plane", "node")
DELIVERY_LIMIT_S = 90


class RandomDeaths(ClusterTest):
    rows = 24

    def victim(self, cluster, name, job_id):
        """The process to strike; None when it does not run at the moment."""
        if name == "control plane":
            return cluster.control()
        if name == "trainer":
            return cluster.trainer_of(job_id)
        node = cluster.node_of(job_id)
        return node and (node if name == "node" else node.agent())

    def strike(self, cluster, name, how, job_id, chance):
        target = self.victim(cluster, name, job_id)
        if target is None:
            return False
        if name == "node":
            target.kill()
        elif how == "stop":
            hold(target, chance.uniform(0.3, 3))
        else:
            target.send(signal.SIGKILL, group=name == "trainer")
        return True

    def assert_one_trainer(self, cluster, job_id):
        alive = [record for node in cluster.nodes()
                 for record in node.folder.glob(f"agent/attempts/{job_id}/e*/process.json")
                 if Process.from_record(record)]
        self.assertLessEqual(len(alive), 1, f"{job_id} has two trainers at once: {alive}")

    def one_round(self, cluster, spec, number, chance):
        job_id = cluster.ask("submit", spec, "--name", f"round-{number}")["id"]
        struck = []
        for _ in range(chance.randint(1, 3)):
            step = chance.randint(1, 45)

            def reached(step=step):
                self.assert_one_trainer(cluster, job_id)
                job = cluster.job(job_id)
                return job and (job["step"] >= step or job["ended_at_ms"])
            cluster.wait(reached, 240, f"step {step} of {job_id}")
            name, how = chance.choice(VICTIMS), chance.choice(("kill", "kill", "stop"))
            if self.strike(cluster, name, how, job_id, chance):
                struck.append(f"{how} {name}")
            time.sleep(chance.uniform(0, 1))
        job = self.wait_over(cluster, job_id, look=lambda: self.assert_one_trainer(cluster, job_id))
        return job, struck

    def test_jobs_complete_with_the_bits_of_an_undisturbed_run(self):
        spec = self.spec(training={"data_epochs": None, "max_steps": 60})
        expected = self.undisturbed(spec)
        cluster = self.cluster()
        dashboard = Dashboard(self, cluster)
        chance = random.Random(SEED)
        told = {}
        interruptions = 0
        for number in range(ROUNDS):
            job, struck = self.one_round(cluster, spec, number, chance)
            what = f"round {number} of seed {SEED}: {', '.join(struck) or 'nothing'}"
            self.assertEqual(job["state"], "completed", f"{what}: {job['failure']}")
            self.assertEqual(self.final_hashes(cluster, job["id"]), expected, what)
            events = self.assert_no_gap(cluster, job["id"])
            attempts = self.assert_one_at_a_time(cluster, job["id"])
            self.assert_head_only_rises(events)
            told |= {(job["id"], event["job_seq"]): event["type"] for event in events}
            interruptions += job["interruptions"]
            print(f"{what}; {len(attempts)} attempts, {job['interruptions']} interruptions", flush=True)
        self.assertGreaterEqual(interruptions, 1, "nothing was ever interrupted")
        wanted = {key for key, kind in told.items() if kind != "checkpoint.committed"}
        cluster.wait(lambda: wanted <= set(dashboard.received()), DELIVERY_LIMIT_S,
                     "every webhook to arrive")
        self.assertEqual(api(cluster, f"/v1/webhooks/{dashboard.id}")["disabled"], False)


class OneControlPlane(ClusterTest):
    def test_a_second_one_on_the_same_store_is_refused(self):
        cluster = self.cluster(nodes=0)
        second = subprocess.run(
            [PROGRAMS / "ratchet-control", "--state", cluster.state, "--listen", "127.0.0.1:0"],
            capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(second.returncode, 1, second.stderr)
        self.assertIn(str(cluster.state), second.stderr + second.stdout)
        self.assertIsNotNone(cluster.ask("list"), "the first one serves on")


class StoppedNodes(ClusterTest):
    def test_up_with_stop_nodes_leaves_no_process_and_comes_back(self):
        spec = self.spec(training={"data_epochs": None, "max_steps": 60})
        expected = self.undisturbed(spec)
        cluster = self.cluster(nodes=1, flags=["--stop-nodes"])
        job_id = cluster.ask("submit", spec)["id"]
        cluster.wait(lambda: (cluster.job(job_id) or {}).get("step", 0) > 0, 240, "training")
        trainer = cluster.trainer_of(job_id)
        cluster.stop()
        cluster.wait(lambda: not any(node.agent() or node.trainers() for node in cluster.nodes()),
                     30, "the nodes to stop")
        self.assertFalse(trainer.is_alive())
        cluster.start()
        job = self.wait_over(cluster, job_id)
        self.assertEqual(job["state"], "completed", job["failure"])
        self.assertEqual(self.final_hashes(cluster, job_id), expected)
        self.assert_head_only_rises(self.assert_no_gap(cluster, job_id))


if __name__ == "__main__":
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--rounds", type=int, default=ROUNDS)
    flags.add_argument("--seed", type=int, default=SEED)
    chosen, rest = flags.parse_known_args()
    ROUNDS, SEED = chosen.rounds, chosen.seed
    unittest.main(argv=[sys.argv[0], *rest])

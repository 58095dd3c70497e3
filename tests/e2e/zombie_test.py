"""An agent that stood still, in the middle of an upload, until its job had moved, and then goes on under
its old epoch: it publishes nothing, its trainer ends, and the head never goes back. Then somebody who has
its token and says that the old attempt goes on. (network_cut_test.py has the agent that knows that it is
cut off; this one has missed its own time.)"""

import json
import signal
import unittest
import urllib.error

from cluster_support import ClusterTest, api
from fault_support import BadNetwork, StaticNode

STEPS = 400
LEASES = ("heartbeat_ms = 500", "suspect_after_ms = 1500", "contact_ttl_ms = 3000",
          "authority_ttl_ms = 6000", "inventory_window_ms = 2000")
SEAL = "POST /v1/artifacts/.*/seal "


class Zombie(ClusterTest):
    def send(self, cluster, state, message, **fields):
        """A message of a node, as one who has its state folder can say it."""
        identity = json.loads((state / "agent.json").read_text(encoding="utf-8"))
        body = {"schema": "sync/1", "incarnation": "an-old-copy", "node_id": identity["node_id"],
                "facts": {"name": "copy", "provider": "static", "price": "owned", "slots": 1,
                          "preflight": {"done": True, "passed": True}}, **fields}
        return api(cluster, f"/v1/agent/{message}", token=identity["node_token"], method="POST",
                   body=body)

    def old_claim(self, job_id, head):
        """The first attempt, said to be alive and far ahead."""
        sealed = {"step": 400000, "manifest_sha256": "ab" * 32, "parent_manifest_sha256": "cd" * 32,
                  "size_bytes": 1000, "artifact_id": head["artifact_id"]}
        return {"job_id": job_id, "attempt_no": 1, "epoch": 1, "state": "running", "stage": "training",
                "step": 400001, "total_steps": 500000, "resumed_from_step": -1, "replayed_steps": 0,
                "step_age_ms": 0, "sealed": [sealed]}

    def forge(self, cluster, state, job_id):
        before = cluster.job(job_id)
        claim = self.old_claim(job_id, before["head"])
        boot = self.send(cluster, state, "hello", attempts=[claim], intent="")["boot_id"]
        answer = self.send(cluster, state, "sync", seq=1, boot_id=boot, desired_rev=0, wait_ms=0,
                           attempts=[claim], lines=[])
        self.assertEqual([verdict["verdict"] for verdict in answer["verdicts"]], ["orphan"])
        self.assertNotIn((job_id, 1), [(wish["job_id"], wish["attempt_no"])
                                       for wish in answer["desired"] if wish["want"] == "run"])
        ended = {**claim, "state": "ended", "sealed": [],
                 "exit": {"cause": "completed", "result_artifact": before["head"]["artifact_id"],
                          "record": {"kind": "completed", "code": "completed", "message": "done"}}}
        try:
            self.send(cluster, state, "sync", seq=2, boot_id=boot, desired_rev=0, wait_ms=0,
                      attempts=[ended], lines=[])
        except urllib.error.HTTPError as error:
            self.fail(f"the second claim was not understood: {error.read()}")
        after = cluster.job(job_id)
        self.assertEqual((after["epoch"], after["node"], after["result_artifact"]),
                         (before["epoch"], before["node"], before["result_artifact"]))
        self.assertLess(after["head"]["step"], 400000)

    def test_an_agent_that_missed_its_time_publishes_nothing(self):
        spec = self.spec(training={"data_epochs": None, "max_steps": STEPS},
                         checkpoint={"interval_steps": 10})
        expected = self.undisturbed(spec)
        cluster = self.cluster(nodes=0, settings=LEASES)
        network = BadNetwork(self, cluster.port)
        old = StaticNode(self, cluster, "old", url=network.url)
        cluster.wait(lambda: cluster.ask("nodes"), 60, "the node")
        job_id = cluster.ask("submit", spec)["id"]
        before = cluster.wait(lambda: (job := cluster.job(job_id)) and job["head"]["step"] and job,
                              120, "a checkpoint")
        network.spoil = [(SEAL, "hold", 120)]
        self.assertTrue(network.held.wait(60), "an upload to stop in")
        old.agent().send(signal.SIGSTOP)
        trainer = old.trainer(job_id)
        new = StaticNode(self, cluster, "new")
        cluster.wait(lambda: new.trainer(job_id), 120, "the move")
        # Until the new attempt has done a step, the old one may come back and is given the job again.
        cluster.wait(lambda: any(event["type"] == "checkpoint.committed"
                                 and event["data"]["sealed_by_attempt"] == 2
                                 for event in self.events(cluster, job_id)), 120,
                     "a checkpoint of the new attempt", pause_s=0.3)
        self.forge(cluster, old.state, job_id)
        network.let_go.set()
        old.agent().send(signal.SIGCONT)
        cluster.wait(lambda: not (trainer and trainer.is_alive()), 60, "the end of the old trainer")
        job = self.wait_over(cluster, job_id)
        self.assertEqual(job["state"], "completed", job["failure"])
        self.assertEqual(self.final_hashes(cluster, job_id), expected)
        self.assertEqual(job["head"]["step"], STEPS)
        events = self.assert_no_gap(cluster, job_id)
        self.assert_head_only_rises(events)
        self.assert_one_at_a_time(cluster, job_id, fenced=True)
        moved = next(i for i, event in enumerate(events)
                     if event["type"] == "job.starting" and event["epoch"] > before["epoch"])
        self.assertEqual({event["data"]["sealed_by_attempt"] for event in events[moved:]
                          if event["type"] == "checkpoint.committed"}, {2})
        self.assertEqual([event for event in events if event["type"] == "checkpoint.adopted"], [])


if __name__ == "__main__":
    unittest.main()

"""The way from an agent to the control plane is slow, breaks in mid-upload and answers nonsense: uploads
go on where they were, every checkpoint arrives whole, and training does not wait for any of it."""

import unittest

from cluster_support import ClusterTest, api
from fault_support import BadNetwork, StaticNode

CREATE, PUT, SEAL = "POST /v1/artifacts ", "PUT /v1/artifacts/", "POST /v1/artifacts/.*/seal "
STEPS = 120
LARGE = "PUT /v1/artifacts/.*/files/optimizer.safetensors "


class BrokenUploads(ClusterTest):
    expected = None  # the same for all

    def begin(self, spoil):
        spec = self.spec(training={"data_epochs": None, "max_steps": STEPS},
                         checkpoint={"interval_steps": 20})
        BrokenUploads.expected = self.expected or self.undisturbed(spec)
        cluster = self.cluster(nodes=0)
        network = BadNetwork(self, cluster.port)
        node = StaticNode(self, cluster, "node-1", url=network.url)
        cluster.wait(lambda: cluster.ask("nodes"), 60, "the node")
        network.spoil = spoil
        return cluster, network, node, cluster.ask("submit", spec)["id"]

    def assert_undisturbed(self, cluster, job):
        self.assertEqual(job["state"], "completed", job["failure"])
        self.assertEqual((job["epoch"], job["attempts"], job["interruptions"]), (1, 1, 0))
        self.assertEqual(self.final_hashes(cluster, job["id"]), self.expected)
        self.assert_head_only_rises(self.assert_no_gap(cluster, job["id"]))
        sealed = api(cluster, f"/v1/artifacts/{job['head']['artifact_id']}")
        self.assertEqual(sealed["state"], "sealed")
        for file in sealed["files"]:
            self.assertEqual(file["received_bytes"], file["bytes"], file["path"])

    def test_training_does_not_wait_for_a_slow_upload(self):
        cluster, network, node, job_id = self.begin([(LARGE, "trickle", 50000)])
        self.assertTrue(network.slow.wait(120), "an upload")
        step = node.steps_done(job_id)
        cluster.wait(lambda: not network.slow.is_set(), 120, "the end of the slow upload")
        self.assertGreater(node.steps_done(job_id), step, "training waited for an upload")
        self.assert_undisturbed(cluster, self.wait_over(cluster, job_id))

    def test_an_upload_goes_on_where_it_was_cut(self):
        cluster, network, _, job_id = self.begin([(LARGE, "cut", 50000), (LARGE, "cut", 50000)])
        self.assert_undisturbed(cluster, self.wait_over(cluster, job_id))
        self.assertEqual([how for how, _ in network.spoiled], ["cut", "cut"])
        path = network.spoiled[0][1].split()[1]
        offsets = [offset for put, offset, _ in network.puts if put == path]
        self.assertEqual(offsets, sorted(offsets), "it went back")
        self.assertGreaterEqual(offsets[-1], 50000, "it began again")

    def test_nonsense_and_lost_answers_lose_nothing(self):
        spoil = [(begin, how, number) for how, number in
                 (("garbage", 0), ("portal", 404), ("lose", 0), ("portal", 400), ("portal", 302),
                  ("portal", 200))
                 for begin in (CREATE, PUT, SEAL)]
        cluster, network, _, job_id = self.begin([*spoil, (LARGE, "flip", 1000)])
        self.assert_undisturbed(cluster, self.wait_over(cluster, job_id))
        self.assertEqual(network.spoil, [], "not every fault was met")
        committed = [item["step"] for item in api(cluster, f"/v1/jobs/{job_id}/checkpoints")["items"]
                     if item["state"] == "committed"]
        self.assertIn(STEPS, committed)


if __name__ == "__main__":
    unittest.main()

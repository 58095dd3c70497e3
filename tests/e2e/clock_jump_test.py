"""The wall clock jumps by an hour, forwards and back, under the control plane and under a whole node while
a job trains: nobody is taken for dead, no lease lapses, no epoch is given out, events stay in order."""

import glob
import json
import os
import pathlib
import time
import unittest

from cluster_support import PROGRAMS, QUIET, SETTINGS, TRAINER, ClusterTest, LocalCluster, api
from fault_support import StaticNode

STEPS = 700
# Hours against the true clock, of the control plane and of the node, one pair after the other.
JUMPS = ((1, 0), (-1, 0), (0, 1), (1, -1), (0, 0))
LOOK_S = 2.5  # several heartbeats, so that a false verdict has the time to be reached
ALARMS = ("node.silent", "node.lost", "node.released", "node.quarantined", "job.stalled",
          "job.recovering", "attempt.regranted", "job.epoch_jumped")


class Clock:
    """The wall clock of what is started with `environment`; monotonic clocks go on."""

    def __init__(self, test, name):
        self.file = test.folder / f"clock-{name}"
        self.set(0)
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not library:
            test.fail("libfaketime is not installed: `make setup` brings it")
        self.environment = {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": str(self.file),
                            "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                            "NO_FAKE_STAT": "1"}
        before = self.left_behind()
        test.addCleanup(lambda: [path.unlink(missing_ok=True)
                                 for path in self.left_behind() - before])

    def set(self, hours):
        new = self.file.with_suffix(".new")
        new.write_text(f"{hours:+d}h\n")
        os.replace(new, self.file)

    @staticmethod
    def left_behind():
        """Shared memory of libfaketime whose process has ended: SIGKILL leaves it."""
        return {path for path in pathlib.Path("/dev/shm").glob("*faketime_*")
                if not pathlib.Path("/proc", path.name.rpartition("_")[2]).exists()}


class ClockJumps(ClusterTest):
    def control_plane(self, clock):
        cluster = LocalCluster(PROGRAMS, self.folder / "state", nodes=0,
                               settings=[*SETTINGS, "heartbeat_ms = 500"],
                               environment={**QUIET, **clock.environment})
        cluster.trainer = TRAINER
        cluster.log = open(self.folder / "state.log", "ab")
        self.addCleanup(cluster.log.close)
        self.addCleanup(cluster.end)
        cluster.start()
        for name in clock.environment:  # the CLI has the true time
            del cluster.environment[name]
        return cluster

    @staticmethod
    def hour_of(time_ms):
        return round((time_ms / 1000 - time.time()) / 3600)

    @staticmethod
    def last_line(node, job_id):
        """The newest event of the trainer itself."""
        path, = node.state.glob(f"attempts/{job_id}/e1/out/events.jsonl")
        return json.loads(path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()[-1])

    def test_jumps_of_an_hour_are_no_event(self):
        spec = self.spec(training={"data_epochs": None, "max_steps": STEPS},
                         checkpoint={"interval_steps": 10})
        expected = self.undisturbed(spec)
        clocks = Clock(self, "control"), Clock(self, "node")
        cluster = self.control_plane(clocks[0])
        node = StaticNode(self, cluster, "node-1", environment=clocks[1].environment)
        cluster.wait(lambda: cluster.ask("nodes"), 60, "the node")
        job_id = cluster.ask("submit", spec)["id"]
        cluster.wait(lambda: node.steps_done(job_id) > 0, 120, "training")
        trainer = node.trainer(job_id)
        for hours in JUMPS:
            for clock, hour in zip(clocks, hours):
                clock.set(hour)
            time.sleep(LOOK_S)
            if trainer.is_alive():
                self.assertEqual(self.hour_of(self.last_line(node, job_id)["time_ms"]), hours[1])
            self.assertEqual(self.hour_of(api(cluster, "/v1/health")["checked_at_ms"]), hours[0])
            job = cluster.job(job_id)
            self.assertEqual((job["epoch"], job["attempts"], job["interruptions"]), (1, 1, 0))
            self.assertIn(job["state"], ("training", "completed"))
            self.assertEqual([item["liveness"] for item in cluster.ask("nodes")], ["live"])
        self.assertTrue(trainer.is_alive() or node.steps_done(job_id) == STEPS)
        job = self.wait_over(cluster, job_id)
        self.assertEqual(job["state"], "completed", job["failure"])
        self.assertEqual((job["epoch"], job["attempts"], job["interruptions"]), (1, 1, 0))
        self.assertEqual(self.final_hashes(cluster, job_id), expected)
        events = self.assert_no_gap(cluster, job_id)
        self.assert_head_only_rises(events)
        every = api(cluster, "/v1/events?limit=1000")["items"]
        self.assertEqual([event["type"] for event in every if event["type"] in ALARMS], [])
        of_job = [event["job_seq"] for event in every if event.get("job_id") == job_id]
        self.assertEqual(of_job, sorted(of_job), "the events of all are not in order")


if __name__ == "__main__":
    unittest.main()

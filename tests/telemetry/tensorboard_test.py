#!/usr/bin/env python3
"""TensorBoard reads the event files that trainer/telemetry writes.

Runs the program tensorboard_sample of the build and loads its folder with TensorBoard's own reader.
"""

import glob
import os
import subprocess
import tempfile
import unittest

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2

PROGRAM = os.path.join(os.environ["RATCHET_BINARY_DIR"], "bin", "tensorboard_sample")


class TensorBoardReadsOurFiles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        subprocess.run([PROGRAM, cls.folder.name], check=True)
        cls.files = sorted(glob.glob(os.path.join(cls.folder.name, "events.out.tfevents.*")))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def events(self, path):
        return [event_pb2.Event.FromString(raw) for raw in RawEventFileLoader(path).Load()]

    def test_every_record_is_an_event(self):
        self.assertEqual(len(self.files), 2)
        first, second = (self.events(path) for path in self.files)
        self.assertEqual(len(first), 1 + 120 + 1)
        self.assertEqual(len(second), 2 + 50 + 1)
        self.assertEqual(first[0].file_version, "brain.Event:2")
        self.assertEqual(first[0].wall_time, 1763722800.25)
        self.assertEqual(first[3].step, 3)
        self.assertEqual(first[3].summary.value[0].tag, "train/loss")
        self.assertAlmostEqual(first[3].summary.value[0].simple_value, 9.97, places=6)
        self.assertEqual(second[1].step, 101)
        self.assertEqual(second[1].session_log.status, event_pb2.SessionLog.START)

    def test_scalars_are_shown_once_although_steps_were_replayed(self):
        accumulator = EventAccumulator(self.folder.name, size_guidance={"scalars": 0})
        accumulator.Reload()
        self.assertEqual(sorted(accumulator.Tags()["scalars"]), ["eval/loss", "train/loss"])
        losses = accumulator.Scalars("train/loss")
        self.assertEqual([point.step for point in losses], list(range(1, 151)))
        self.assertAlmostEqual(losses[99].value, 9.0, places=6)
        self.assertEqual({point.value for point in losses[100:]}, {5.0})
        self.assertEqual([(p.step, p.value) for p in accumulator.Scalars("eval/loss")],
                         [(150, 1.5)])

    def test_a_torn_last_record_hides_nothing_before_it(self):
        with open(self.files[0], "rb") as source:
            whole = source.read()
        with tempfile.TemporaryDirectory() as folder:
            torn = os.path.join(folder, os.path.basename(self.files[0]))
            with open(torn, "wb") as target:
                target.write(whole[:-5])
            accumulator = EventAccumulator(folder, size_guidance={"scalars": 0})
            accumulator.Reload()
            self.assertEqual(len(accumulator.Scalars("train/loss")), 120)
            self.assertNotIn("eval/loss", accumulator.Tags()["scalars"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

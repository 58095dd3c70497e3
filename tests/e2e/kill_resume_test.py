"""SIGKILL at random moments, a third of them in the middle of a save: the job always ends with the
bits of a run that was never killed.

  kill_resume_test.py [--kills N] [--seed S]     25 kills by default; 200 for the deep run
"""

import argparse
import pathlib
import random
import sys
import unittest

from support import Folder, checkpoints, events, final_hashes, wait_until

KILLS = 25
SEED = 20261121
KILLS_A_RUN = 5


class KillResume(Folder):
    def saving(self, out):
        folder = pathlib.Path(out) / "ckpt"
        try:
            return any(entry.name.startswith(".tmp-") for entry in folder.iterdir())
        except FileNotFoundError:
            return False

    def test_killed_runs_end_with_the_bits_of_an_undisturbed_one(self):
        spec = self.spec()
        self.run_trainer(spec, self.folder / "never-killed")
        expected = final_hashes(self.folder / "never-killed")
        total_steps = events(self.folder / "never-killed", "step")[-1]["total_steps"]
        self.assertGreaterEqual(total_steps, 12)

        chance = random.Random(SEED)
        kills = in_save = in_later_epoch = run = 0
        while kills < KILLS:
            out = self.folder / f"killed-{run}"
            run += 1
            for _ in range(KILLS_A_RUN):
                process = self.start(spec, out, "--quiet")
                if kills % 3 == 0:
                    hit = wait_until(lambda: self.saving(out), process, pause_s=0.0002)
                    in_save += hit
                else:
                    seen = len(events(out, "step"))
                    after = chance.randrange(0, total_steps // 3)
                    hit = wait_until(lambda: len(events(out, "step")) >= seen + after, process,
                                     pause_s=0.001 * chance.random())
                if process.poll() is not None:
                    break  # it finished before the moment came
                self.kill(process)
                kills += 1
                done = events(out, "step")
                in_later_epoch += bool(done) and done[-1]["data_epoch"] > 1
            self.run_trainer(spec, out)
            self.assertEqual(final_hashes(out), expected, f"run {run}, {kills} kills so far")
            self.assertEqual(events(out, "exit")[-1]["kind"], "completed")
            for warning in events(out, "warning"):
                self.assertNotEqual(warning["kind"], "witness_mismatch", warning["message"])
        print(f"{kills} kills, {in_save} in mid-save, {in_later_epoch} after the first data epoch")
        self.assertGreaterEqual(in_save, KILLS // 5)
        self.assertGreaterEqual(in_later_epoch, 1)
        self.assertLessEqual(len(checkpoints(out)), 3)


if __name__ == "__main__":
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--kills", type=int, default=KILLS)
    flags.add_argument("--seed", type=int, default=SEED)
    chosen, rest = flags.parse_known_args()
    KILLS, SEED = chosen.kills, chosen.seed
    unittest.main(argv=[sys.argv[0], *rest])

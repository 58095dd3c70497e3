"""An independent client (PyPI schemathesis) tries every route of a running ratchet-control by the document
that it serves: with examples, at the borders of every schema, and at random. No answer may be a status or
a form that the document does not have."""

import os
import subprocess
import sys
import unittest

from control_testing import Agent, Control

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


class OpenapiClient(unittest.TestCase):
    def run_client(self, token, *flags):
        control = self.control
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file",
                   os.path.join(HERE, "schemathesis.toml"), "run", control.url + "/v1/openapi.json",
                   "--checks", CHECKS, "--seed", "17", "--no-color", *flags]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False,
                              cwd=control.folder, env={**os.environ, "RATCHET_TEST_TOKEN": token})  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        self.assertIn("Test cases:", done.stdout)

    def setUp(self):
        self.control = Control("--rate-limit-per-s", "100000", "--rate-limit-burst", "100000",
                               "--agent-rate-limit-per-s", "100000").start()  # fmt: skip
        self.addCleanup(self.control.close)
        self.control.submit()

    def test_as_an_administrator(self):
        self.run_client(self.control.token, "--exclude-path-regex", "^/v1/agent/")

    def test_as_a_node(self):
        agent = Agent(self.control, self.control.new_token("join"))
        self.run_client(agent.token, "--include-path-regex", "^/v1/agent/")


if __name__ == "__main__":
    unittest.main()

"""Strangers at a control plane whose job runs: malformed requests as fast as they can be sent, bodies
that are too large, and the token of another tenant. It neither ends nor grows, says no in its own form,
and the job goes on. Bounded in count: a few seconds."""

import json
import os
import pathlib
import random
import socket
import threading
import unittest
import urllib.error

from cluster_support import ClusterTest, api

STEPS = 300
ROUNDS = 3000       # requests of each of the senders
SENDERS = 4
GROWTH_MIB = 64     # what the control plane may keep of all that
LARGE = 64 << 20    # announced; the refusal comes long before
SEED = 7

HEAD = b"Host: x\r\nAuthorization: Bearer %s\r\n"
MALFORMED = (
    b"\0\1\2\3\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"G\xc3\xa9T /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/jobs/%00%2e%2e%2f HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\n" + b"X: y\r\n" * 3000 + b"\r\n",
    b"GET /v1/jobs HTTP/1.1\nHost: x\n\n",
    b"\r\n" * 2000,
)


def memory_of(process):
    """Resident MiB."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


class HostileClients(ClusterTest):
    def test_strangers_change_nothing(self):
        spec = self.spec(training={"data_epochs": None, "max_steps": STEPS})
        expected = self.undisturbed(spec)
        self.control = self.cluster(nodes=1)
        self.job_id = self.control.ask("submit", spec)["id"]
        self.control.wait(lambda: (job := self.control.job(self.job_id)) and job["step"] > 0, 120,
                          "training")
        self.process = self.control.control()
        self.memory = memory_of(self.process)
        for attack in (self.malformed_requests, self.bodies_that_are_too_large,
                       self.a_token_of_another_tenant):
            with self.subTest(attack.__name__):
                attack()
                self.assertEqual(self.control.control(), self.process, "it ended")
                self.assertLess(memory_of(self.process) - self.memory, GROWTH_MIB)
        job = self.wait_over(self.control, self.job_id)
        self.assertEqual(job["state"], "completed", job["failure"])
        self.assertEqual((job["epoch"], job["attempts"], job["interruptions"]), (1, 1, 0))
        self.assertEqual(self.final_hashes(self.control, self.job_id), expected)
        self.assert_no_gap(self.control, self.job_id)

    def send(self, data, limit_s=20):
        """What is answered to raw bytes; what was cut off counts as no answer."""
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.control.port), timeout=limit_s) as peer:
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
                while piece := peer.recv(65536):
                    answer += piece
        except ConnectionError:
            pass
        return answer

    def send_many(self, seed, wrong):
        """Malformed requests, every fourth with a random change; answers that are none go to `wrong`."""
        chance = random.Random(seed)
        for number in range(ROUNDS):
            data = bytearray(MALFORMED[number % len(MALFORMED)])
            if number % 4 == 0:
                for _ in range(4):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                answer = self.send(bytes(data))
            except OSError as error:
                answer = repr(error).encode()
            if answer and not answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")):
                wrong.append((bytes(data[:80]), answer[:80]))

    def malformed_requests(self):
        wrong = []
        senders = [threading.Thread(target=self.send_many, args=(SEED + i, wrong))
                   for i in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self.assertEqual(wrong, [])

    def bodies_that_are_too_large(self):
        token = json.loads((self.control.state / "login.json").read_text())["token"].encode()
        body = os.urandom(1 << 20)
        for path in (b"/v1/jobs", b"/v1/artifacts", b"/v1/webhooks", b"/v1/tokens",
                     b"/v1/agent/sync"):
            head = (b"POST " + path + b" HTTP/1.1\r\n" + HEAD % token
                    + b"Content-Type: application/json\r\n")
            for framing in (b"Content-Length: %d\r\n\r\n" % LARGE,
                            b"Transfer-Encoding: chunked\r\n\r\n"):
                with socket.create_connection(("127.0.0.1", self.control.port), timeout=20) as peer:
                    answer = self.push(peer, head + framing, body, framing)
                if answer:  # else it had closed before we had read what it said
                    self.assertRegex(answer, rb"^HTTP/1\.1 (413|403|400) ", path)

    @staticmethod
    def push(peer, head, piece, framing):
        """Sends until it is refused; the answer."""
        answer = b""
        try:
            peer.sendall(head)
            for _ in range(LARGE // len(piece)):
                if framing.startswith(b"Transfer"):
                    peer.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
                else:
                    peer.sendall(piece)
        except ConnectionError:
            pass
        try:
            answer = peer.recv(65536)
        except ConnectionError:
            pass
        return answer

    def a_token_of_another_tenant(self):
        other = api(self.control, "/v1/tokens", method="POST",
                    body={"scope": "admin", "tenant": "others", "name": "other"})["token"]
        job = self.control.job(self.job_id)
        artifact = job["inputs"]["base_model"]["artifact_id"]
        for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/logs"), ("GET", "/metrics"),
                             ("GET", "/attempts"), ("GET", "/checkpoints"), ("GET", "/stream"),
                             ("POST", "/pause"), ("POST", "/cancel"), ("POST", "/resume")):
            self.assert_absent(f"/v1/jobs/{self.job_id}{path}", other, method)
        self.assert_absent(f"/v1/nodes/{job['node']}", other, "GET")
        self.assert_absent(f"/v1/nodes/{job['node']}/drain", other, "POST")
        self.assert_absent(f"/v1/artifacts/{artifact}", other, "GET")
        self.assertEqual(api(self.control, "/v1/jobs", token=other)["items"], [])
        self.assertEqual(api(self.control, "/v1/nodes", token=other)["items"], [])

    def assert_absent(self, path, token, method):
        with self.assertRaises(urllib.error.HTTPError) as refused:
            api(self.control, path, token=token, method=method,
                body={} if method == "POST" else None)
        self.assertEqual(refused.exception.code, 404, f"{method} {path}")


if __name__ == "__main__":
    unittest.main()

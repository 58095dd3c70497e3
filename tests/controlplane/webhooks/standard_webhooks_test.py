"""Our webhooks, verified by an independent implementation of the standard (PyPI standardwebhooks):
the dispatcher sends to a receiver written here, which checks every message with that library."""

import base64
import http.server
import json
import os
import subprocess
import threading
import unittest

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

SENDER = os.path.join(os.environ["RATCHET_BINARY_DIR"], "bin", "webhook_sender")


def secret(size):
    return "whsec_" + base64.b64encode(os.urandom(size)).decode()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers.items()), body))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


class StandardWebhooks(unittest.TestCase):
    def send(self, count, secrets, statuses=()):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        server.received = []
        server.statuses = list(statuses)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            done = subprocess.run(
                [SENDER, f"http://127.0.0.1:{server.server_port}/hook", str(count)],
                input="".join(line + "\n" for line in secrets),
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        self.assertEqual(done.returncode, 0)
        return server.received

    def test_every_message_verifies_with_every_valid_secret(self):
        secrets = [secret(32), secret(24), secret(64)]
        received = self.send(10, secrets)
        self.assertEqual(len(received), 10)
        for number, (headers, body) in enumerate(received, 1):
            for one in secrets:
                data = Webhook(one).verify(body, headers)
                self.assertEqual(data["data"]["job_seq"], number)
                self.assertEqual(data["type"], "job.started")
            self.assertEqual(set(json.loads(body)), {"type", "timestamp", "data"})
            self.assertNotIn(".", {k.lower(): v for k, v in headers.items()}["webhook-id"])

    def test_strangers_and_changed_messages_do_not_verify(self):
        own = secret(32)
        ((headers, body),) = self.send(1, [own])
        headers = {key.lower(): value for key, value in headers.items()}
        self.assertTrue(Webhook(own).verify(body, headers))
        changes = [
            (secret(32), headers, body),
            (own, headers, body.replace(b"job-1", b"job-2")),
            (own, {**headers, "webhook-id": "evt_other"}, body),
            (own, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}, body),
        ]
        for key, changed, text in changes:
            with self.assertRaises(WebhookVerificationError):
                Webhook(key).verify(text, changed)

    def test_retries_keep_their_id_and_verify(self):
        own = secret(32)
        received = self.send(1, [own], statuses=[500, 429])
        self.assertEqual(len(received), 3)
        ids = set()
        for headers, body in received:
            Webhook(own).verify(body, headers)
            ids.add({key.lower(): value for key, value in headers.items()}["webhook-id"])
        self.assertEqual(len(ids), 1)


if __name__ == "__main__":
    unittest.main()

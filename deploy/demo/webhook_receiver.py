#!/usr/bin/env python3
"""What a dashboard behind a webhook would get: receives events, checks each signature by the rules
of Standard Webhooks 1.0.0, and prints a line. Standard library only.

    webhook_receiver.py --port-file FILE --secret-file FILE --log FILE

The port is chosen by the system and written to --port-file; the secret is read when the first event
comes, since the webhook is made after the receiver. A wrong signature, or one from another time, is
answered with 401; an event that came before is answered with 204 and not printed again.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import json
import pathlib
import sys
import time

TOLERANCE_S = 300
MAX_BODY = 1 << 20


def signature_holds(secret, headers, body):
    """Whether one of the v1 signatures is that of `id.timestamp.body` under the secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    identity, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > TOLERANCE_S:
        return False
    signed = f"{identity}.{stamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(item, f"v1,{expected}") for item in given)


def describe(event):
    data = event.get("data", {})
    text = event.get("type", "?")
    if data.get("step"):
        text += f", step {data['step']}"
    if data.get("cause"):
        text += f" ({data['cause']})"
    return text


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    secret_file = log_file = None
    seen = set()

    def do_POST(self):  # noqa: N802 (the name that http.server calls)
        length = int(self.headers.get("content-length", "0"))
        if length > MAX_BODY:
            return self.answer(413)
        body = self.rfile.read(length)
        secret = self.secret_file.read_text(encoding="ascii").strip()
        if not signature_holds(secret, self.headers, body):
            print("dashboard | REFUSED: the signature does not hold", flush=True)
            return self.answer(401)
        identity = self.headers["webhook-id"]
        if identity not in self.seen:
            self.seen.add(identity)
            event = json.loads(body)
            with open(self.log_file, "a", encoding="utf-8") as log:
                log.write(json.dumps({"webhook_id": identity, **event}) + "\n")
            print(f"dashboard | {describe(event)}", flush=True)
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("--port-file", "--secret-file", "--log"):
        parser.add_argument(flag, type=pathlib.Path, required=True)
    args = parser.parse_args()
    Receiver.secret_file, Receiver.log_file = args.secret_file, args.log
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    args.port_file.write_text(str(server.server_port), encoding="ascii")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()

"""A real ratchet-control on loopback, and a small client of its API, for the tests of this folder."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

CONTROL = os.path.join(os.environ["RATCHET_BINARY_DIR"], "bin", "ratchet-control")
START_LIMIT_S = 60


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json()["error"]["code"]


class Control:
    """One state folder, and the process that serves it while it runs."""

    def __init__(self, *flags):
        self.folder = tempfile.mkdtemp(prefix="ratchet-api-")
        self.state = os.path.join(self.folder, "state")
        self.flags = ["--inventory-window-ms", "0", *flags]
        self.process = None
        self.url = None
        self.token = None

    def start(self):
        record = os.path.join(self.state, "control.json")
        if os.path.exists(record):
            os.remove(record)
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(
            [CONTROL, "--state", self.state, "--listen", "127.0.0.1:0", *self.flags],
            stdout=self.log, stderr=self.log)  # fmt: skip
        end = time.monotonic() + START_LIMIT_S
        while not os.path.exists(record):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("ratchet-control did not start: " + self.log_text())
            time.sleep(0.01)
        with open(record, encoding="utf-8") as file:
            self.url = json.load(file)["address"]
        with open(os.path.join(self.state, "admin.token"), encoding="utf-8") as file:
            self.token = file.read().strip()
        return self

    def log_text(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self.log.close()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(30)
        self.log.close()
        return code

    def close(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, path, body=None, token="", headers=None, raw=None, timeout=30):
        """token "": the administrator's; None: none at all."""
        data = raw if body is None else json.dumps(body).encode()
        fields = dict(headers or {})
        if token is not None:
            fields["Authorization"] = "Bearer " + (token or self.token)
        if data is not None and "Content-Type" not in fields:
            fields["Content-Type"] = "application/octet-stream" if body is None else "application/json"
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=fields)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def new_token(self, scope, **more):
        return self.call("POST", "/v1/tokens", {"scope": scope, "name": scope, **more}).json()["token"]

    def upload(self, kind, files, seal=True, token=""):
        listed = [{"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                  for path, content in files.items()]  # fmt: skip
        made = self.call("POST", "/v1/artifacts", {"kind": kind, "files": listed}, token=token).json()
        for path, content in files.items():
            self.call("PUT", f"/v1/artifacts/{made['id']}/files/{path}", raw=content, token=token,
                      headers={"Upload-Offset": "0"})  # fmt: skip
        if seal:
            self.call("POST", f"/v1/artifacts/{made['id']}/seal", token=token)
        return made["id"]

    def job_body(self, token="", **more):
        base = self.upload("base_model", {"config.json": b"{}"}, token=token)
        train = self.upload("dataset", {"chats.jsonl": b'{"text":"hello"}\n'}, token=token)
        spec = {"name": "test", "base_model": "base", "data": {"train": "chats.jsonl"}}
        inputs = {"base_model": {"artifact_id": base}, "train": {"artifact_id": train}}
        return {"spec": spec, "inputs": inputs, **more}

    def submit(self, token="", **more):
        return self.call("POST", "/v1/jobs", self.job_body(token, **more), token=token).json()


class Agent:
    """What an agent says, without being one."""

    def __init__(self, control, join, name="n1", **facts):
        self.control, self.seq = control, 0
        self.incarnation = name + "-" + os.urandom(4).hex()
        self.facts = {"name": name, "provider": "static", "price": "owned", "slots": 1,
                      "preflight": {"done": True, "passed": True}, **facts}  # fmt: skip
        answer = control.call("POST", "/v1/agent/hello", self.message(node_id="", attempts=[],
                              facts=self.facts, intent=""), token=join)  # fmt: skip
        self.joined = answer.json()
        self.id, self.token, self.boot = (self.joined["node_id"], self.joined["node_token"],
                                          self.joined["boot_id"])  # fmt: skip
        self.rev = 0

    def message(self, **fields):
        return {"schema": "sync/1", "incarnation": self.incarnation, **fields}

    def heartbeat(self):
        self.seq += 1
        return self.control.call("POST", "/v1/agent/heartbeat",
                                 self.message(node_id=self.id, seq=self.seq), token=self.token)  # fmt: skip

    def sync(self, attempts=(), lines=(), wait_ms=0):
        self.seq += 1
        body = self.message(node_id=self.id, seq=self.seq, boot_id=self.boot, desired_rev=self.rev,
                            wait_ms=wait_ms, facts=self.facts, attempts=list(attempts),
                            lines=list(lines))  # fmt: skip
        answer = self.control.call("POST", "/v1/agent/sync", body, token=self.token, timeout=60)
        if answer.status == 200:
            self.rev, self.boot = answer.json()["desired_rev"], answer.json()["boot_id"]
        return answer

    def report(self, desired, state, **fields):
        return {"job_id": desired["job_id"], "attempt_no": desired["attempt_no"],
                "epoch": desired["epoch"], "state": state, "stage": "", "step": 0, "total_steps": 10,
                "resumed_from_step": -1, "replayed_steps": 0, "step_age_ms": 0, "sealed": [],
                **fields}  # fmt: skip

    def line(self, desired, seq, step, **fields):
        event = {"schema": "event/1", "type": "step", "seq": seq, "time_ms": 1700000000000 + seq,
                 "job_id": desired["job_id"], "attempt_no": desired["attempt_no"],
                 "epoch": desired["epoch"], "step": step, "total_steps": 10, "loss": 2.5,
                 "grad_norm": 1.0, "lr": 0.001, "tokens": 10, "trained_tokens": 10,
                 "tokens_per_s": 5.0, "data_epoch": 0.1, "eta_s": 3.0, "times": {},
                 "replayed": False, **fields}  # fmt: skip
        return {"job_id": desired["job_id"], "attempt_no": desired["attempt_no"],
                "epoch": desired["epoch"], "seq": seq, "line": json.dumps(event)}  # fmt: skip


def read_stream(control, path, token="", last_id=None, until=None, limit_s=20):
    """Events of an SSE answer as (type, id, data), until it ends or until() says enough."""
    headers = {"Authorization": "Bearer " + (token or control.token)}
    if last_id is not None:
        headers["Last-Event-ID"] = str(last_id)
    request = urllib.request.Request(control.url + path, headers=headers)
    events, fields = [], {}
    with urllib.request.urlopen(request, timeout=limit_s) as response:
        for raw in response:
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                continue
            if line:
                key, _, value = line.partition(": ")
                fields[key] = value
            elif fields:
                events.append((fields.get("event"), fields.get("id"), json.loads(fields["data"])))
                fields = {}
                if until and until(events):
                    break
    return events

"""ratchet-control as its users and agents meet it: a real process on loopback, one state folder a test
class. Every route with its main statuses, what keeps tenants apart, and what survives kill -9."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import unittest

from control_testing import CONTROL, Agent, Control, read_stream


class OneServer(unittest.TestCase):
    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.control = Control(*cls.flags).start()

    @classmethod
    def tearDownClass(cls):
        cls.control.close()

    def call(self, *arguments, **more):
        return self.control.call(*arguments, **more)

    def wait_for(self, what, limit_s=20):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.05)
        self.fail("it did not happen in time")
        return None


class System(OneServer):
    def test_open_routes_need_no_token(self):
        for path in ("/healthz", "/readyz", "/metrics", "/v1/openapi.json"):
            self.assertEqual(self.call("GET", path, token=None).status, 200, path)
        self.assertIn(b"ratchet_jobs{state=", self.call("GET", "/metrics", token=None).body)

    def test_every_other_route_refuses_no_token_and_a_wrong_one(self):
        document = self.call("GET", "/v1/openapi.json", token=None).json()
        for path, operations in document["paths"].items():
            filled = path.replace("{", "").replace("}", "").replace("attempt_no", "1")
            for method, operation in operations.items():
                if not operation["security"]:
                    continue
                for token in (None, "rt_user_no"):
                    answer = self.call(method.upper(), filled, token=token)
                    self.assertEqual(answer.status, 401, path)

    def test_scopes_reach_what_they_should(self):
        user, join = self.control.new_token("user"), self.control.new_token("join")
        self.assertEqual(self.call("GET", "/v1/jobs", token=user).status, 200)
        for path in ("/v1/tokens", "/v1/settings", "/v1/errors"):
            self.assertEqual(self.call("GET", path, token=user).code, "forbidden")
        self.assertEqual(self.call("GET", "/v1/jobs", token=join).code, "forbidden")
        self.assertEqual(self.call("POST", "/v1/agent/sync", {}, token=self.control.token).code,
                         "forbidden")  # fmt: skip

    def test_health_has_every_part(self):
        health = self.call("GET", "/v1/health").json()
        self.assertTrue(health["ok"], health)
        for part in ("store", "artifacts", "provisioners", "queue", "nodes", "webhooks"):
            self.assertIn(part, health)
        self.assertIn("pool", health["store"])

    def test_errors_have_one_form(self):
        for method, path, body, status, code in (
            ("GET", "/v1/nothing", None, 404, "route_not_found"),
            ("GET", "/v1/jobs/none", None, 404, "job_not_found"),
            ("GET", "/v1/runs/none", None, 404, "run_not_found"),
            ("GET", "/v1/nodes/none", None, 404, "node_not_found"),
            ("GET", "/v1/artifacts/none", None, 404, "artifact_not_found"),
            ("GET", "/v1/webhooks/none", None, 404, "webhook_not_found"),
            ("DELETE", "/v1/tokens/none", None, 404, "token_not_found"),
            ("DELETE", "/v1/jobs", None, 405, "method_not_allowed"),
            ("GET", "/v1/jobs?limit=0", None, 400, "invalid_request"),
            ("GET", "/v1/jobs?cursor=zzz", None, 400, "invalid_cursor"),
            ("GET", "/v1/jobs?state=asleep", None, 400, "invalid_request"),
            ("POST", "/v1/jobs", {"spec": {}, "odd": 1}, 400, "invalid_request"),
            ("POST", "/v1/jobs", {"spec": {}}, 422, "invalid_spec"),
        ):
            answer = self.call(method, path, body)
            self.assertEqual((answer.status, answer.code), (status, code), path)
            error = answer.json()["error"]
            self.assertEqual(set(error),
                             {"code", "class", "message", "next_step", "details", "request_id"})  # fmt: skip
            self.assertEqual(error["request_id"], answer.headers["X-Request-Id"])
            self.assertTrue(error["next_step"])
        self.assertEqual(self.call("DELETE", "/v1/jobs").headers["Allow"], "POST, GET")

    def test_request_id_of_the_caller_is_kept_and_logged(self):
        self.call("GET", "/v1/jobs", headers={"X-Request-Id": "mine-17"})
        self.wait_for(lambda: "mine-17" in self.control.log_text())
        for line in self.control.log_text().splitlines():
            if line.startswith("{"):
                self.assertIn("event", json.loads(line))
        self.assertNotIn(self.control.token, self.control.log_text())

    def test_answers_carry_security_headers(self):
        answer = self.call("GET", "/v1/jobs")
        self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        self.assertIn("default-src 'none'", answer.headers["Content-Security-Policy"])
        self.assertIn("RateLimit-Limit", answer.headers)

    def test_settings_are_shown(self):
        keys = {item["key"]: item for item in self.call("GET", "/v1/settings").json()["items"]}
        self.assertEqual(keys["inventory_window_ms"]["value"], "0")
        self.assertEqual(keys["heartbeat_ms"]["value"], keys["heartbeat_ms"]["default"])

    def test_tokens_come_and_go(self):
        made = self.call("POST", "/v1/tokens", {"scope": "user", "name": "ana"}).json()
        self.assertEqual(self.call("GET", "/v1/jobs", token=made["token"]).status, 200)
        listed = self.call("GET", "/v1/tokens").json()["items"]
        self.assertIn(made["id"], [item["id"] for item in listed])
        self.assertNotIn(made["token"], json.dumps(listed))
        self.assertEqual(self.call("DELETE", f"/v1/tokens/{made['id']}").status, 204)
        self.assertEqual(self.call("GET", "/v1/jobs", token=made["token"]).code, "unauthenticated")
        self.assertEqual(self.call("POST", "/v1/tokens", {"scope": "god"}).code, "invalid_request")

    def test_faults_are_listed_for_administrators(self):
        self.assertEqual(self.call("GET", "/v1/errors").json()["items"], [])
        store = sqlite3.connect(os.path.join(self.control.state, "ratchet.db"), timeout=20)
        with store:
            for number, tenant in ((1, "default"), (2, "default"), (3, "other")):
                store.execute("INSERT INTO error_logs VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                              (f"err-{number}", tenant, "api", "internal", f"fault {number}", "", "{}",
                               "ana", "", "error", 1000 + number))  # fmt: skip
        store.close()
        first = self.call("GET", "/v1/errors?limit=1").json()
        self.assertEqual([item["message"] for item in first["items"]], ["fault 2"])
        rest = self.call("GET", "/v1/errors?cursor=" + first["next_cursor"]).json()
        self.assertEqual([item["id"] for item in rest["items"]], ["err-1"])
        self.assertIsNone(rest["items"][0]["job_id"])
        self.assertEqual(self.call("GET", "/v1/errors?cursor=zzz").code, "invalid_cursor")

    def test_tokens_are_not_stored_in_clear(self):
        made = self.control.new_token("user")
        for name in os.listdir(self.control.state):
            path = os.path.join(self.control.state, name)
            if os.path.isfile(path) and name != "admin.token":
                with open(path, "rb") as file:
                    content = file.read()
                self.assertNotIn(made.encode(), content, name)
                self.assertNotIn(self.control.token.encode(), content, name)

    def test_a_second_server_on_the_state_is_refused(self):
        second = subprocess.run([CONTROL, "--state", self.control.state, "--listen", "127.0.0.1:0"],
                                capture_output=True, text=True, timeout=30, check=False)  # fmt: skip
        self.assertEqual(second.returncode, 1)
        self.assertIn("another ratchet-control", second.stderr)


class Bounds(OneServer):
    flags = ("--rate-limit-per-s", "5", "--rate-limit-burst", "10",
             "--allowed-origins", "https://dash.example")  # fmt: skip

    def raw(self, data, limit_s=20):
        host, port = self.control.url.split("//")[1].split(":")
        with socket.create_connection((host, int(port)), timeout=limit_s) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            out = b""
            while piece := connection.recv(65536):
                out += piece
        return out

    def test_malformed_requests_end_the_connection_only(self):
        for data in (b"\0\1\2\3\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n",
                     b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
                     b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                     b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):  # fmt: skip
            try:
                answer = self.raw(data)
            except ConnectionError:
                answer = b""
            self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 4")
                            or answer.startswith(b"HTTP/1.1 5"), answer[:80])  # fmt: skip
        self.assertEqual(self.call("GET", "/healthz", token=None).status, 200)

    def test_oversized_and_wrong_bodies(self):
        token = self.control.new_token("admin")
        big = self.call("POST", "/v1/tokens", raw=b" " * 100000, token=token,
                        headers={"Content-Type": "application/json"})  # fmt: skip
        self.assertEqual((big.status, big.code), (413, "body_too_large"))
        text = self.call("POST", "/v1/tokens", raw=b"{", token=token,
                         headers={"Content-Type": "application/json"})  # fmt: skip
        self.assertEqual((text.status, text.code), (400, "invalid_json"))
        kind = self.call("POST", "/v1/tokens", raw=b"{}", token=token,
                         headers={"Content-Type": "text/html"})  # fmt: skip
        self.assertEqual((kind.status, kind.code), (415, "unsupported_media_type"))

    def test_a_token_has_a_budget(self):
        token = self.control.new_token("user")
        answers = [self.call("GET", "/v1/webhooks", token=token) for _ in range(20)]
        refused = [answer for answer in answers if answer.status == 429]
        self.assertTrue(refused)
        self.assertEqual(refused[0].code, "rate_limited")
        self.assertGreaterEqual(int(refused[0].headers["Retry-After"]), 1)
        self.assertEqual(self.call("GET", "/v1/webhooks", token=self.control.new_token("user")).status,
                         200)  # fmt: skip

    def test_only_allowed_origins_get_cors(self):
        token = self.control.new_token("user")
        good = self.call("GET", "/v1/jobs", token=token, headers={"Origin": "https://dash.example"})
        self.assertEqual(good.headers["Access-Control-Allow-Origin"], "https://dash.example")
        bad = self.call("GET", "/v1/jobs", token=token, headers={"Origin": "https://evil.example"})
        self.assertNotIn("Access-Control-Allow-Origin", bad.headers)
        asked = self.call("OPTIONS", "/v1/jobs", token=None, headers={"Origin": "https://dash.example"})
        self.assertEqual(asked.status, 204)
        self.assertIn("POST", asked.headers["Access-Control-Allow-Methods"])


class Artifacts(OneServer):
    def test_uploads_resume_and_are_verified(self):
        import hashlib

        content = os.urandom(3_000_000)
        body = {"kind": "file", "files": [{"path": "a/b.bin", "bytes": len(content),
                                           "sha256": hashlib.sha256(content).hexdigest()}]}  # fmt: skip
        made = self.call("POST", "/v1/artifacts", body)
        self.assertEqual(made.status, 201)
        path = f"/v1/artifacts/{made.json()['id']}"
        file = path + "/files/a/b.bin"
        self.assertEqual(self.call("POST", path + "/seal").code, "artifact_open")
        first = self.call("PUT", file, raw=content[:1_000_001], headers={"Upload-Offset": "0"})
        self.assertEqual((first.status, first.headers["Upload-Offset"]), (204, "1000001"))
        wrong = self.call("PUT", file, raw=b"x", headers={"Upload-Offset": "5"})
        self.assertEqual((wrong.status, wrong.code), (409, "upload_offset_mismatch"))
        self.assertEqual(wrong.headers["Upload-Offset"], "1000001")
        self.assertEqual(self.call("HEAD", file).headers["Upload-Offset"], "1000001")
        rest = self.call("PUT", file, raw=content[1_000_001:], headers={"Upload-Offset": "1000001"})
        self.assertEqual(rest.status, 204)
        sealed = self.call("POST", path + "/seal")
        self.assertEqual((sealed.status, sealed.json()["state"]), (200, "sealed"))
        self.assertEqual(self.call("POST", "/v1/artifacts", body).json()["state"], "sealed")
        self.assertEqual(self.call("GET", file).body, content)
        part = self.call("GET", file, headers={"Range": "bytes=10-19"})
        self.assertEqual((part.status, part.body), (206, content[10:20]))
        self.assertEqual(part.headers["Content-Range"], f"bytes 10-19/{len(content)}")
        beyond = self.call("GET", file, headers={"Range": "bytes=9999999-"})
        self.assertEqual(beyond.code, "range_not_satisfiable")
        again = self.call("PUT", file, raw=b"x", headers={"Upload-Offset": "0"})
        self.assertEqual(again.code, "artifact_sealed")
        self.assertEqual(self.call("GET", path + "/files/none").code, "file_not_found")

    def test_wrong_bytes_are_refused(self):
        body = {"kind": "file", "files": [{"path": "x", "bytes": 3, "sha256": "0" * 64}]}
        made = self.call("POST", "/v1/artifacts", body).json()
        answer = self.call("PUT", f"/v1/artifacts/{made['id']}/files/x", raw=b"abc",
                           headers={"Upload-Offset": "0"})  # fmt: skip
        self.assertEqual((answer.status, answer.code), (422, "digest_mismatch"))
        longer = self.call("PUT", f"/v1/artifacts/{made['id']}/files/x", raw=b"abcd",
                           headers={"Upload-Offset": "0"})  # fmt: skip
        self.assertEqual((longer.status, longer.code), (413, "body_too_large"))

    def test_paths_stay_in_the_artifact(self):
        for path in ("../x", "/x", "a//b", "a/../b", ""):
            body = {"kind": "file", "files": [{"path": path, "bytes": 1, "sha256": "0" * 64}]}
            self.assertEqual(self.call("POST", "/v1/artifacts", body).status, 400, path)


class Jobs(OneServer):
    def test_submit_is_strict_and_says_everything_at_once(self):
        body = self.control.job_body()
        body["spec"]["lora"] = {"rank": 0}
        body["spec"]["training"] = {"learning_rate": -1}
        body["inputs"]["validation"] = {"artifact_id": "art_none"}
        answer = self.call("POST", "/v1/jobs", body)
        self.assertEqual((answer.status, answer.code), (422, "invalid_spec"))
        findings = " ".join(answer.json()["error"]["details"]["findings"])
        for part in ("$.spec.lora.rank", "$.spec.training.learning_rate", "$.inputs.validation"):
            self.assertIn(part, findings)

    def test_inputs_must_fit(self):
        body = self.control.job_body()
        body["inputs"]["base_model"], body["inputs"]["train"] = (body["inputs"]["train"],
                                                                 body["inputs"]["base_model"])  # fmt: skip
        findings = self.call("POST", "/v1/jobs", body).json()["error"]["details"]["findings"]
        self.assertGreaterEqual(len(findings), 2)

    def test_a_repeated_key_gets_the_same_job(self):
        body = self.control.job_body()
        key = {"Idempotency-Key": "k-1"}
        first = self.call("POST", "/v1/jobs", body, headers=key)
        second = self.call("POST", "/v1/jobs", body, headers=key)
        self.assertEqual((first.status, second.status), (201, 201))
        self.assertEqual(first.body, second.body)
        self.assertEqual(second.headers["Idempotent-Replay"], "true")
        other = self.call("POST", "/v1/jobs", {**body, "priority": 1}, headers=key)
        self.assertEqual((other.status, other.code), (409, "idempotency_conflict"))

    def test_lists_have_pages(self):
        made = [self.control.submit(priority=i)["id"] for i in range(5)]
        seen, cursor = [], ""
        while cursor is not None:
            page = self.call("GET", f"/v1/jobs?limit=2&sort=created_at&cursor={cursor}").json()
            self.assertLessEqual(len(page["items"]), 2)
            seen += [job["id"] for job in page["items"]]
            cursor = page["next_cursor"]
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual([job for job in seen if job in made], made)

    def test_pause_resume_cancel_are_idempotent_and_final(self):
        path = f"/v1/jobs/{self.control.submit()['id']}"
        for _ in range(2):
            self.assertEqual(self.call("POST", path + "/pause").json()["state"], "paused")
        for _ in range(2):
            self.assertEqual(self.call("POST", path + "/resume").json()["state"], "queued")
        for _ in range(2):
            self.assertEqual(self.call("POST", path + "/cancel").json()["state"], "cancelled")
        self.assertEqual(self.call("POST", path + "/resume").code, "job_terminal")
        self.assertEqual(self.call("POST", path + "/pause").code, "job_terminal")
        events = self.call("GET", path + "/events").json()["items"]
        self.assertEqual([event["job_seq"] for event in events], list(range(1, len(events) + 1)))

    def test_a_job_waits_for_its_uploads(self):
        body = self.control.job_body()
        late = self.control.upload("dataset", {"late.jsonl": b"{}\n"}, seal=False)
        body["inputs"]["train"] = {"artifact_id": late}
        job = self.call("POST", "/v1/jobs", body).json()
        self.assertEqual(job["phase"], "validating")
        self.call("POST", f"/v1/artifacts/{late}/seal")
        self.wait_for(lambda: self.call("GET", f"/v1/jobs/{job['id']}").json()["phase"] == "queued")

    def test_a_continuation_shares_the_run(self):
        first = self.control.submit()
        second = self.control.submit(parent=first["id"])
        self.assertEqual(second["run_id"], first["run_id"])
        run = self.call("GET", f"/v1/runs/{first['run_id']}").json()
        self.assertEqual([job["id"] for job in run["jobs"]], [first["id"], second["id"]])
        self.assertEqual(self.call("POST", "/v1/jobs", self.control.job_body(parent="job-no")).code,
                         "invalid_spec")  # fmt: skip


class Agents(OneServer):
    def test_a_job_from_offer_to_steps(self):
        job = self.control.submit()
        agent = Agent(self.control, self.control.new_token("join"), "steps")
        self.assertEqual(agent.heartbeat().status, 200)
        desired = self.wait_for(lambda: [one for one in agent.sync(wait_ms=500).json()["desired"]
                                         if one["job_id"] == job["id"]])[0]  # fmt: skip
        self.assertEqual((desired["attempt_no"], desired["epoch"], desired["want"]), (1, 1, "run"))
        lines = [agent.line(desired, i, i) for i in (1, 2, 3)]
        running = agent.report(desired, "running", stage="training", step=3)
        answer = agent.sync([running], lines).json()
        self.assertEqual([cursor["seq"] for cursor in answer["acked_lines"]], [3])
        shown = self.call("GET", f"/v1/jobs/{job['id']}").json()
        self.assertEqual((shown["state"], shown["step"], shown["node"]), ("training", 3, agent.id))
        self.assertEqual(shown["last_step"]["loss"], 2.5)
        metrics = self.call("GET", f"/v1/jobs/{job['id']}/metrics?after_step=1").json()["items"]
        self.assertEqual([metric["step"] for metric in metrics], [2, 3])
        self.log_of(job, agent)
        self.stream_of(job, agent, desired, running)
        nodes = self.call("GET", "/v1/nodes").json()["items"]
        mine = [node for node in nodes if node["id"] == agent.id][0]
        self.assertEqual((mine["liveness"], mine["jobs"]), ("live", [job["id"]]))
        self.assertEqual(self.call("POST", f"/v1/nodes/{agent.id}/drain", {}).status, 202)
        self.assertEqual(agent.sync([running], wait_ms=5000).json()["desired"][0]["want"], "drain")
        self.assertEqual(self.call("POST", f"/v1/nodes/{agent.id}/undrain").status, 202)

    def log_of(self, job, agent):
        path = f"/v1/agent/jobs/{job['id']}/attempts/1/log"
        put = self.call("PUT", path, raw=b"line 1\n", token=agent.token, headers={"Upload-Offset": "0"})
        self.assertEqual((put.status, put.headers["Upload-Offset"]), (200, "7"))
        twice = self.call("PUT", path, raw=b"line 1\n", token=agent.token,
                          headers={"Upload-Offset": "0"})  # fmt: skip
        self.assertEqual((twice.status, twice.headers["Upload-Offset"]), (409, "7"))
        read = self.call("GET", f"/v1/jobs/{job['id']}/logs?attempt=1&offset=5")
        self.assertEqual((read.body, read.headers["Log-Next-Offset"]), (b"1\n", "7"))
        other = Agent(self.control, self.control.new_token("join"), "other", slots=0)
        stolen = self.call("PUT", path, raw=b"x", token=other.token, headers={"Upload-Offset": "7"})
        self.assertEqual(stolen.code, "attempt_not_found")

    def stream_of(self, job, agent, desired, running):
        path = f"/v1/jobs/{job['id']}/stream"
        heard = []

        def follow():
            heard.extend(read_stream(self.control, path,
                         until=lambda seen: any(kind == "step" and data["step"] == 4
                                                for kind, _, data in seen)))  # fmt: skip

        reader = threading.Thread(target=follow)
        reader.start()
        time.sleep(0.3)
        agent.sync([{**running, "step": 4}], [agent.line(desired, 4, 4)])
        reader.join(20)
        self.assertFalse(reader.is_alive())
        ids = [int(number) for kind, number, _ in heard if kind == "job"]
        self.assertEqual(ids, list(range(1, len(ids) + 1)))
        rest = read_stream(self.control, path, last_id=ids[1],
                           until=lambda seen: len([e for e in seen if e[0] == "job"]) == len(ids) - 2)  # fmt: skip
        self.assertEqual([int(number) for kind, number, _ in rest if kind == "job"], ids[2:])

    def test_a_poll_waits_and_is_woken(self):
        agent = Agent(self.control, self.control.new_token("join"), "poll")
        agent.sync()
        agent.sync(wait_ms=100)
        answers = []
        poll = threading.Thread(target=lambda: answers.append(agent.sync(wait_ms=20000)))
        poll.start()
        time.sleep(0.3)
        began = time.monotonic()
        self.control.submit()
        poll.join(20)
        self.assertFalse(poll.is_alive())
        self.assertLess(time.monotonic() - began, 15)
        self.assertTrue(answers[0].json()["desired"])

    def test_a_hello_that_was_not_answered_finds_its_node(self):
        join = self.control.new_token("join")
        agent = Agent(self.control, join, "twice", slots=0)
        body = agent.message(node_id="", attempts=[], facts=agent.facts, intent="")
        again = self.call("POST", "/v1/agent/hello", body, token=join).json()
        self.assertEqual(again["node_id"], agent.id)
        self.assertEqual(self.call("POST", "/v1/agent/hello", {**body, "intent": "other"},
                                   token=join).code, "forbidden")  # fmt: skip

    def test_strangers_are_refused(self):
        one = Agent(self.control, self.control.new_token("join"), "one", slots=0)
        two = Agent(self.control, self.control.new_token("join"), "two", slots=0)
        two.token = one.token
        self.assertEqual(two.heartbeat().code, "forbidden")
        one.incarnation = "changed"
        self.assertEqual(one.heartbeat().code, "needs_hello")
        self.assertEqual(self.call("POST", "/v1/agent/heartbeat", {}, token=one.token).code,
                         "invalid_request")  # fmt: skip

    def test_a_notice_is_taken_at_once(self):
        agent = Agent(self.control, self.control.new_token("join"), "notice", slots=0)
        notice = {"source": "aws", "kind": "reclaim", "action": "terminate", "event_id": "e-1",
                  "lead_ms": 120000}  # fmt: skip
        answer = self.call("POST", "/v1/agent/notice", agent.message(node_id=agent.id, notice=notice),
                           token=agent.token)  # fmt: skip
        self.assertEqual(answer.status, 200)
        node = self.call("GET", f"/v1/nodes/{agent.id}").json()
        self.assertEqual((node["notice"]["source"], node["schedulable"]), ("aws", "draining"))


class Webhooks(OneServer):
    def test_the_life_of_an_endpoint(self):
        made = self.call("POST", "/v1/webhooks", {"url": "https://example.com/h", "types": ["job.*"]})
        self.assertEqual(made.status, 201)
        path = f"/v1/webhooks/{made.json()['id']}"
        self.assertTrue(made.json()["secret"].startswith("whsec_"))
        self.assertNotIn("secret", self.call("GET", path).json())
        off = self.call("PATCH", path, {"disabled": True, "types": ["job.failed"]}).json()
        self.assertEqual((off["disabled"], off["types"]), (True, ["job.failed"]))
        self.assertFalse(self.call("PATCH", path, {"disabled": False}).json()["disabled"])
        rotated = self.call("POST", path + "/rotate").json()
        self.assertNotEqual(rotated["secret"], made.json()["secret"])
        self.assertEqual(self.call("POST", path + "/test").json()["deliveries"], 1)
        listed = self.call("GET", path + "/deliveries").json()["items"]
        self.assertEqual(listed[0]["type"], "webhook.test")
        self.assertEqual(self.call("POST", path + "/replay", {}).code, "invalid_request")
        replay = {"from_ms": 0, "to_ms": 1}
        self.assertEqual(self.call("POST", path + "/replay", replay).json()["deliveries"], 0)
        self.assertEqual(self.call("DELETE", path).status, 204)
        self.assertEqual(self.call("GET", path).code, "webhook_not_found")

    def test_addresses_within_are_refused(self):
        for url in ("http://127.0.0.1/", "https://169.254.169.254/latest", "ftp://example.com/",
                    "https://[::1]/"):  # fmt: skip
            answer = self.call("POST", "/v1/webhooks", {"url": url})
            self.assertEqual((answer.status, answer.code), (422, "webhook_url_refused"), url)


class Tenants(OneServer):
    def test_what_is_foreign_is_not_there(self):
        """Every route with an id, with the id of another tenant's thing: 404, whatever the method."""
        job = self.control.submit()
        agent = Agent(self.control, self.control.new_token("join"), "theirs", slots=0)
        webhook = self.call("POST", "/v1/webhooks", {"url": "https://example.com/h"}).json()
        token = self.call("POST", "/v1/tokens", {"scope": "user", "name": "x"}).json()
        artifact = job["inputs"]["train"]["artifact_id"]
        ids = {"jobs": job["id"], "runs": job["run_id"], "nodes": agent.id, "artifacts": artifact,
               "webhooks": webhook["id"], "tokens": token["id"]}  # fmt: skip
        other = self.control.new_token("admin", tenant="other")
        document = self.call("GET", "/v1/openapi.json", token=None).json()
        bodies = {"drain": {}, "simulate-reclaim": {}, "replay": {"from_ms": 0, "to_ms": 1}}
        tried = 0
        for path, operations in document["paths"].items():
            resource = path.split("/")[2] if path.startswith("/v1/") else ""
            if "{" not in path or resource not in ids:
                continue
            filled = (path.replace("{id}", ids[resource]).replace("{run_id}", ids[resource])
                      .replace("{path}", "chats.jsonl"))  # fmt: skip
            for method in operations:
                body = bodies.get(path.split("/")[-1], {} if method == "patch" else None)
                raw = b"x" if method == "put" else None
                answer = self.call(method.upper(), filled, body, token=other, raw=raw,
                                   headers={"Upload-Offset": "0"})  # fmt: skip
                self.assertEqual(answer.status, 404, f"{method} {path}: {answer.body[:200]}")
                tried += 1
        self.assertGreaterEqual(tried, 25)
        self.assertEqual(self.call("GET", f"/v1/jobs/{job['id']}").json()["state"], "queued")

    def test_lists_hold_the_own_only(self):
        self.control.submit()
        other = self.control.new_token("admin", tenant="lists")
        for path in ("jobs", "nodes", "artifacts", "webhooks", "events"):
            self.assertEqual(self.call("GET", "/v1/" + path, token=other).json()["items"], [], path)
        mine = self.control.submit(token=other)
        listed = self.call("GET", "/v1/jobs", token=other).json()["items"]
        self.assertEqual([job["id"] for job in listed], [mine["id"]])
        body = self.control.job_body()
        self.assertEqual(self.call("POST", "/v1/jobs", body, token=self.control.new_token(
            "user", tenant="third")).code, "invalid_spec")  # fmt: skip

    def test_only_the_operator_makes_tokens_of_others(self):
        other = self.control.new_token("admin", tenant="fourth")
        answer = self.call("POST", "/v1/tokens", {"scope": "user", "tenant": "default"}, token=other)
        self.assertEqual(answer.code, "forbidden")


class Death(unittest.TestCase):
    def test_what_was_acknowledged_survives_kill_nine(self):
        control = Control().start()
        self.addCleanup(control.close)
        acknowledged, body = [], control.job_body()
        for round_number in range(3):
            stop = threading.Event()

            def submit(worker, begin=round_number, ended=stop):
                number = 0
                while not ended.is_set():
                    key = {"Idempotency-Key": f"{begin}-{worker}-{number}"}
                    try:
                        answer = control.call("POST", "/v1/jobs", body, headers=key)
                    except OSError:
                        return
                    if answer.status == 201:
                        acknowledged.append((key, answer.json()["id"]))
                    number += 1

            workers = [threading.Thread(target=submit, args=(i,)) for i in range(4)]
            for worker in workers:
                worker.start()
            time.sleep(0.4)
            control.kill()
            stop.set()
            for worker in workers:
                worker.join(30)
            control.start()
        self.assertGreater(len(acknowledged), 10)
        for key, job in acknowledged[-30:]:
            events = control.call("GET", f"/v1/jobs/{job}/events").json()["items"]
            self.assertEqual([event["job_seq"] for event in events], list(range(1, len(events) + 1)))
            again = control.call("POST", "/v1/jobs", body, headers=key)
            self.assertEqual(again.json()["id"], job)
        known, cursor = set(), ""
        while cursor is not None:
            page = control.call("GET", f"/v1/jobs?limit=1000&cursor={cursor}").json()
            known |= {job["id"] for job in page["items"]}
            cursor = page["next_cursor"]
        self.assertEqual({job for _, job in acknowledged} - known, set())

    def test_a_clean_stop_ends_polls_and_streams(self):
        control = Control().start()
        self.addCleanup(control.close)
        agent = Agent(control, control.new_token("join"), "stop", slots=0)
        agent.sync()
        job = control.submit()
        poll = threading.Thread(target=lambda: agent.sync(wait_ms=25000))
        stream = threading.Thread(
            target=lambda: read_stream(control, f"/v1/jobs/{job['id']}/stream", limit_s=60))
        poll.start()
        stream.start()
        time.sleep(0.5)
        self.assertEqual(control.stop(), 0)
        poll.join(10)
        stream.join(10)
        self.assertFalse(poll.is_alive() or stream.is_alive())
        self.assertFalse(os.path.exists(os.path.join(control.state, "control.json")))


class Starting(unittest.TestCase):
    def refused(self, *flags, environment=None):
        out = subprocess.run([CONTROL, *flags], capture_output=True, text=True, timeout=30, check=False,
                             env={**os.environ, **(environment or {})})  # fmt: skip
        self.assertNotEqual(out.returncode, 0)
        return out.stderr

    def test_settings_are_checked(self):
        self.assertIn("--state", self.refused())
        self.assertIn("heartbeat_ms = soon", self.refused("--state", "/nowhere", "--heartbeat-ms", "soon"))
        self.assertIn("log_max_bytes", self.refused("--state", "/nowhere",
                                                    environment={"RATCHET_LOG_MAX_BYTES": "-1"}))  # fmt: skip

    def test_plaintext_beyond_loopback_must_be_asked_for(self):
        control = Control()
        os.makedirs(control.state)
        message = self.refused("--state", control.state, "--listen", "0.0.0.0:0")
        self.assertIn("plaintext", message.lower())
        control.process = subprocess.Popen(["true"])
        control.process.wait()
        control.close()

    def test_tls(self):
        import ssl
        import urllib.parse
        import urllib.request

        control = Control()
        self.addCleanup(control.close)
        os.makedirs(control.state)
        key, certificate = (os.path.join(control.folder, name) for name in ("key.pem", "cert.pem"))

        def make_certificate():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", certificate,
                            "-days", "2", "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)  # fmt: skip

        make_certificate()
        control.flags += ["--tls-cert", certificate, "--tls-key", key]
        control.start()
        self.assertTrue(control.url.startswith("https://"))
        trusted = ssl.create_default_context(cafile=certificate)
        with urllib.request.urlopen(control.url + "/healthz", context=trusted, timeout=20) as answer:
            self.assertEqual(answer.status, 200)
            self.assertIn("max-age", answer.headers["Strict-Transport-Security"])

        def served():
            return ssl.get_server_certificate(("127.0.0.1", urllib.parse.urlsplit(control.url).port))

        def hang_up(event):
            control.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 20
            while event not in control.log_text() and time.monotonic() < end:
                time.sleep(0.05)
            self.assertIn(event, control.log_text())

        # A pair that does not fit changes nothing.
        before = served()
        with open(key, "rb") as file:
            old_key = file.read()
        make_certificate()
        with open(key, "rb") as file:
            new_key = file.read()
        with open(key, "wb") as file:
            file.write(old_key)
        hang_up("tls_reload_failed")
        self.assertEqual(served(), before)
        with open(key, "wb") as file:
            file.write(new_key)
        hang_up("tls_reloaded")
        self.assertNotEqual(served(), before)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Serves the page and the JSON API of docs/web-api.md from a SQLite store, for work on the page without building bftap.

    python3 dev/serve.py STORE.db [PORT]     http://127.0.0.1:7777 serves crates/web/assets

Not the product: it trusts whoever asks, and leaves comparing to a built bftap that BFTAP names.
`bftap web` is the server; what the two say must look alike, the page's checks run against either.
"""
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

ASSETS = pathlib.Path(__file__).resolve().parent.parent.parent / "crates/web/assets"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
FLAGS = {"live", "lower_bound", "validator", "suspicious"}
KINDS = ["preprepare", "prepare", "commit", "roundchange"]
SUMS = (
    "coalesce(sum(messages),0) messages, coalesce(sum(useful),0) useful, coalesce(sum(repeats),0) repeats, coalesce(sum(echoes),0) echoes, "
    "coalesce(sum(invalid),0) invalid, coalesce(sum(bytes),0) bytes"
)


class Absent(Exception):
    pass


class Store:
    def __init__(self, path):
        self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.db.row_factory = sqlite3.Row

    def rows(self, sql, *values, drop=("run_id",)):
        found = []
        for row in self.db.execute(sql, values):
            found.append({
                name: bool(row[name]) if name in FLAGS and row[name] is not None else row[name]
                for name in row.keys()
                if name not in drop and not name.endswith("_s")
            })
        return found

    def one(self, sql, *values, **options):
        found = self.rows(sql, *values, **options)
        if not found:
            raise Absent("no such row")
        return found[0]


def asked(query, name, default=None):
    return query.get(name, [default])[0]


def answer(store, parts, query):
    if parts == ["runs"]:
        return {"version": "dev", "schema": 4, "runs": store.rows("SELECT * FROM run ORDER BY run_id DESC LIMIT 500", drop=())}
    if parts == ["compare"]:
        names = [store.one("SELECT name FROM run WHERE run_id = ?", int(asked(query, run)))["name"] for run in ("a", "b")]
        if "BFTAP" not in os.environ:
            raise Absent("to compare runs, set BFTAP to a built bftap")
        return json.loads(subprocess.run([os.environ["BFTAP"], "diff", *names, "--store", f"sqlite://{STORE}", "--json"], stdout=subprocess.PIPE, check=True).stdout)
    if parts[0] != "runs":
        raise Absent("no such address")
    if parts[1] == "latest":
        run = store.one("SELECT max(run_id) run FROM run WHERE state = 'complete' OR (state = 'running' AND live)")["run"]
    else:
        run = int(parts[1])
    about = store.one("SELECT * FROM run WHERE run_id = ?", run, drop=())
    rest = parts[2:]
    view = rest[0] if rest else None
    chain = int(asked(query, "chain", 0))
    if view is None:
        return {"run": about, "chains": store.rows("SELECT * FROM chain WHERE run_id = ?", run)}
    if view == "summary":
        return summary(store, run)
    if view == "nodes":
        return {"nodes": nodes(store, run)}
    if view == "traffic":
        return traffic(store, run, query)
    if view == "matrix":
        kind = asked(query, "kind")
        condition, values = (" AND kind = ?", [kind]) if kind else ("", [])
        links = store.rows(
            "SELECT l.receiver, l.sender, sum(messages) messages, sum(bytes) bytes FROM link_count l "
            f"WHERE run_id = ?{condition} GROUP BY 1, 2 ORDER BY 1, 2", run, *values)
        wasted = {(row["receiver"], row["sender"]): row["copies"] for row in store.rows(
            f"SELECT receiver, sender, sum(copies) copies FROM waste WHERE run_id = ?{condition} GROUP BY 1, 2", run, *values)}
        for link in links:
            link["wasted"] = wasted.get((link["receiver"], link["sender"]), 0)
            link["useful"] = link["messages"] - link["wasted"]
        return {"nodes": [row["label"] for row in store.rows("SELECT label FROM node WHERE run_id = ? ORDER BY node_number", run)],
                "since_ns": None, "until_ns": None, "links": links}
    if view == "copies":
        found = {}
        names = {row["receiver_ip"]: row["receiver"] for row in store.rows("SELECT DISTINCT receiver_ip, receiver FROM minute_count WHERE run_id = ?", run)}
        for row in store.rows("SELECT * FROM copies WHERE run_id = ? ORDER BY receiver_ip, copies", run):
            found.setdefault(row["receiver_ip"], []).append([row["copies"], row["payloads"]])
        return {"receivers": [{"receiver_ip": ip, "receiver": names.get(ip, ip), "histogram": histogram} for ip, histogram in found.items()]}
    if view == "redundancy":
        return {
            "waste": store.rows("SELECT kind, cause, sum(copies) copies, sum(bytes) bytes FROM waste WHERE run_id = ? GROUP BY 1, 2", run),
            "links": store.rows("SELECT receiver, sender, sum(copies) copies, sum(bytes) bytes FROM waste WHERE run_id = ? GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 100", run),
            "what_if": store.rows("SELECT * FROM what_if WHERE run_id = ?", run),
        }
    if view == "rounds":
        return rounds(store, run, query)
    if view == "events" and len(rest) == 1:
        return events(store, run, query)
    if view == "events":
        event = opened(store.one("SELECT * FROM event WHERE run_id = ? AND event_number = ?", run, int(rest[1])))
        return {"event": event, "evidence": f"bftap evidence {rest[1]} --run '{about['name']}' -o evidence-{rest[1]}" if event["payloads"] else None}
    if view == "votes":
        return votes(store, run, query)
    if view == "links":
        return {"links": store.rows("SELECT * FROM tcp_link WHERE run_id = ? ORDER BY bytes DESC LIMIT 2000", run), "more": False}
    if view == "peers":
        peers = store.rows("SELECT * FROM peer WHERE run_id = ? ORDER BY peer_number", run)
        for peer in peers:
            peer["disconnects"] = store.rows("SELECT direction, reason, disconnects FROM peer_disconnect WHERE run_id = ? AND peer_number = ?", run, peer["peer_number"])
        return {"peers": peers, "dials": store.rows("SELECT * FROM dial WHERE run_id = ? LIMIT 2000", run), "census": store.rows("SELECT * FROM census WHERE run_id = ?", run)}
    if view == "health":
        return {
            "run": about,
            "captures": store.rows("SELECT * FROM capture WHERE run_id = ? ORDER BY capture_number", run),
            "counters": store.rows("SELECT * FROM counter WHERE run_id = ?", run),
            "codes": store.rows("SELECT * FROM code WHERE run_id = ?", run),
            "progress": store.rows("SELECT * FROM progress WHERE run_id = ? ORDER BY batch DESC LIMIT 300", run)[::-1],
            "sessions": states(store, run),
            "broken": store.rows("SELECT * FROM session WHERE run_id = ? AND (state <> 'decrypted' OR lost_bytes > 0) LIMIT 500", run),
        }
    if view == "sessions":
        limit = int(asked(query, "limit", 100))
        before = int(asked(query, "before", 1 << 60))
        found = store.rows("SELECT * FROM session WHERE run_id = ? AND session_number < ? ORDER BY session_number DESC LIMIT ?", run, before, limit + 1)
        return {"sessions": found[:limit], "more": len(found) > limit, "next": found[limit - 1]["session_number"] if len(found) > limit else None}
    if view == "sequences":
        sequence = int(rest[1])
        here = (run, sequence, chain)
        if len(rest) > 2:
            condition, values = "", []
            for name in ("round", "kind", "signer"):
                if asked(query, name) is not None:
                    condition += f" AND {name} = ?"
                    values.append(int(asked(query, name)) if name == "round" else asked(query, name))
            if asked(query, "receiver"):
                condition += " AND receiver_ip = ?"
                values.append(asked(query, "receiver"))
            limit = int(asked(query, "limit", 1000))
            found = store.rows(f"SELECT * FROM delivery WHERE run_id = ? AND sequence = ? AND chain_id = ?{condition} ORDER BY first_seen_ns LIMIT ?", *here, *values, limit + 1)
            names = {row["ip"]: row["label"] for row in store.rows("SELECT ip, label FROM node_ip JOIN node USING (run_id, node_number) WHERE run_id = ?", run)}
            for row in found:
                row["receiver"] = names.get(row["receiver_ip"], row["receiver_ip"])
            return {"messages": found[:limit], "more": len(found) > limit}
        where = "WHERE run_id = ? AND sequence = ? AND chain_id = ?"
        found = store.rows(f"SELECT * FROM round {where} ORDER BY round", *here)
        if not found:
            raise Absent("no such height")
        return {
            "sequence": sequence, "chain_id": chain, "rounds": found,
            "counts": store.rows(f"SELECT * FROM message_count {where}", *here),
            "node_rounds": store.rows(f"SELECT * FROM node_round {where}", *here),
            "votes": store.rows(f"SELECT * FROM vote {where} ORDER BY round, kind, signer, position", *here),
            "events": [opened(event) for event in store.rows(f"SELECT * FROM event {where}", *here)],
            "previous": store.one("SELECT max(sequence) s FROM round WHERE run_id = ? AND sequence < ? AND chain_id = ?", *here)["s"],
            "next": store.one("SELECT min(sequence) s FROM round WHERE run_id = ? AND sequence > ? AND chain_id = ?", *here)["s"],
            "more": False,
        }
    raise Absent("no such address")


def opened(event):
    for name in ("numbers", "payloads"):
        event[name] = json.loads(event[name]) if event[name] else None
    return event


def states(store, run):
    return store.rows("SELECT state, count(*) sessions FROM session WHERE run_id = ? GROUP BY 1 ORDER BY 1", run)


def summary(store, run):
    totals = store.one(f"SELECT {SUMS}, coalesce(sum(heights),0) \"rows\", coalesce(sum(rows_lower_bound),0) rows_lower_bound FROM minute_count WHERE run_id = ?", run)
    totals["by_kind"] = store.rows(f"SELECT kind, {SUMS}, sum(heights) \"rows\", sum(rows_lower_bound) rows_lower_bound FROM minute_count WHERE run_id = ? GROUP BY kind", run)
    rules = store.rows("SELECT rule, severity, suspicious, count(*) events FROM event WHERE run_id = ? GROUP BY 1, 2, 3", run)
    counts = {name: sum(rule["events"] for rule in rules if rule["severity"] == name) for name in ("critical", "warning", "info")}
    counts["suspicious"] = sum(rule["events"] for rule in rules if rule["suspicious"])
    return {
        "totals": totals,
        "rounds": store.one("SELECT count(*) rounds, coalesce(sum(round > 0), 0) higher_rounds, coalesce(sum(committed_ns IS NOT NULL), 0) committed, min(sequence) lowest_sequence, max(sequence) highest_sequence FROM round WHERE run_id = ?", run),
        "events": {**counts, "rules": rules},
        "sessions": states(store, run),
        "phases": store.rows("SELECT * FROM phase WHERE run_id = ?", run),
        "captures_cut": store.one("SELECT count(*) n FROM capture WHERE run_id = ? AND problem IS NOT NULL", run)["n"],
        "validators": store.one("SELECT count(*) n FROM node WHERE run_id = ? AND validator", run)["n"],
    }


def nodes(store, run):
    found = store.rows("SELECT * FROM node WHERE run_id = ? ORDER BY node_number", run)
    for node in found:
        node["ips"] = [row["ip"] for row in store.rows("SELECT ip FROM node_ip WHERE run_id = ? AND node_number = ?", run, node["node_number"])]
        marks = ",".join("?" * len(node["ips"])) or "''"
        node.update(store.one(f"SELECT {SUMS}, coalesce(sum(heights),0) \"rows\", coalesce(sum(rows_lower_bound),0) rows_lower_bound FROM minute_count WHERE run_id = ? AND receiver_ip IN ({marks})", run, *node["ips"]))
        node["participation"] = store.rows("SELECT * FROM participation WHERE run_id = ? AND validator = ?", run, node["label"])
        node["suspicious"] = {severity: store.one(
            "SELECT count(*) n FROM event WHERE run_id = ? AND suspicious AND COALESCE(signer, sender) = ? AND severity = ?", run, node["label"], severity)["n"]
            for severity in ("critical", "warning", "info")}
        node["score"] = (store.rows("SELECT * FROM score WHERE run_id = ? AND node = ?", run, node["label"]) or [None])[0]
    return found


def traffic(store, run, query):
    bounds = store.one("SELECT min(sequence) first, max(sequence) last, 0 receivers FROM message_count WHERE run_id = ?", run)
    bounds["receivers"] = [row["receiver"] for row in store.rows("SELECT DISTINCT receiver FROM minute_count WHERE run_id = ? ORDER BY 1", run)]
    bounds["since_ns"] = None
    first, last = asked(query, "from"), asked(query, "to")
    if bounds["last"] is None:
        return {"by": "sequence", "points": [], **bounds}
    low, high = int(first) if first else bounds["first"], int(last) if last else bounds["last"]
    condition, values = "", []
    if asked(query, "node"):
        condition, values = " AND receiver = ?", [asked(query, "node")]
    kinds = ", ".join(f"sum(CASE WHEN kind = '{kind}' THEN messages ELSE 0 END) \"{kind}\"" for kind in KINDS)
    rest = f"{kinds}, sum(messages) messages, sum(useful) useful, max(lower_bound) lower_bound FROM message_count WHERE run_id = ? AND sequence BETWEEN ? AND ?{condition}"
    by = "sequence" if high - low < 120 else "minute"
    if by == "sequence":
        points = store.rows(f"SELECT sequence, NULL minute_ns, {rest} GROUP BY sequence ORDER BY sequence", run, low, high, *values)
    else:
        points = store.rows(f"SELECT max(sequence) sequence, first_seen_ns / 60000000000 * 60000000000 minute_ns, {rest} GROUP BY minute_ns ORDER BY minute_ns", run, low, high, *values)
    return {"by": by, "points": points, **bounds}


def rounds(store, run, query):
    condition, values = "", []
    for name, column in (("from", "sequence >="), ("to", "sequence <="), ("chain", "chain_id =")):
        if asked(query, name):
            condition += f" AND {column} ?"
            values.append(int(asked(query, name)))
    if asked(query, "above_zero") == "1":
        condition += " AND round > 0"
    if asked(query, "before"):
        condition += " AND (sequence, round, chain_id) < (?, ?, ?)"
        values += [int(number) for number in asked(query, "before").split(",")]
    limit = int(asked(query, "limit", 100))
    found = store.rows(f"SELECT * FROM round WHERE run_id = ?{condition} ORDER BY sequence DESC, round DESC, chain_id DESC LIMIT ?", run, *values, limit + 1)
    more = len(found) > limit
    found = found[:limit]
    last = found[-1] if more else None
    return {"rounds": found, "more": more, "next": f"{last['sequence']},{last['round']},{last['chain_id']}" if more else None}


COUNTED = {
    "missing": "kind = 'commit' AND state = 'missing' AND outcome = 'decided'",
    "unknown": "kind = 'commit' AND state = 'unknown' AND first_ns IS NULL AND outcome = 'decided'",
    "partial": "state = 'partial'",
    "late": "state = 'late'",
    "proposals": "kind = 'preprepare' AND first_ns IS NOT NULL AND position = 0",
    "prepares": "kind = 'prepare' AND first_ns IS NOT NULL AND position = 0 AND outcome = 'decided'",
    "commits": "kind = 'commit' AND first_ns IS NOT NULL AND position = 0 AND outcome = 'decided'",
    "roundchanges": "kind = 'roundchange' AND first_ns IS NOT NULL AND position = 0",
}


def votes(store, run, query):
    condition, values = "", [asked(query, "signer")]
    for name, column in (("chain", "vote.chain_id"), ("kind", "kind"), ("state", "state")):
        if asked(query, name):
            condition += f" AND {column} = ?"
            values.append(int(asked(query, name)) if name == "chain" else asked(query, name))
    if asked(query, "counted"):
        condition += f" AND {COUNTED[asked(query, 'counted')]}"
    rank = "instr('roundchange,preprepare,prepare,commit', kind)"
    found = store.rows(
        "SELECT vote.*, round.outcome FROM vote JOIN round USING (run_id, sequence, round, chain_id) WHERE vote.run_id = ? AND signer = ?"
        f"{condition} ORDER BY vote.sequence DESC, vote.round DESC, vote.chain_id DESC, {rank} DESC, position DESC", run, *values)

    def key(row):
        return [str(row[name]) for name in ("sequence", "round", "chain_id", "kind", "position")]

    if asked(query, "before"):
        place = asked(query, "before").split(",")
        behind = next((number for number, row in enumerate(found) if key(row)[: len(place)] == place), -1)
        found = found[behind + 1:]
    limit = int(asked(query, "limit", 100))
    more = len(found) > limit
    found = found[:limit]
    return {"signer": asked(query, "signer"), "votes": found, "more": more, "next": ",".join(key(found[-1])) if more else None,
            "scanned_to": found[-1]["sequence"] if more else None}


def events(store, run, query):
    condition, values = "", []
    for name in ("severity", "rule"):
        if asked(query, name):
            several = asked(query, name).split(",")
            condition += f" AND {name} IN ({', '.join('?' * len(several))})"
            values += several
    if asked(query, "suspicious") == "1":
        condition += " AND suspicious"
    if asked(query, "node"):
        condition += " AND (signer = ? OR sender = ?)"
        values += [asked(query, "node")] * 2
    if asked(query, "blamed"):
        condition += " AND COALESCE(signer, sender) = ?"
        values.append(asked(query, "blamed"))
    if asked(query, "before"):
        condition += " AND event_number < ?"
        values.append(int(asked(query, "before")))
    limit = int(asked(query, "limit", 100))
    found = store.rows(f"SELECT * FROM event WHERE run_id = ?{condition} ORDER BY event_number DESC LIMIT ?", run, *values, limit + 1)
    more = len(found) > limit
    found = [opened(event) for event in found[:limit]]
    return {"events": found, "more": more, "next": found[-1]["event_number"] if more else None}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body, kind):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", POLICY)
        self.send_header("cache-control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        address = urlsplit(self.path)
        if not address.path.startswith("/api/v1/"):
            path = ASSETS / (address.path.lstrip("/") or "index.html")
            if path.parent != ASSETS or not path.is_file():
                return self.send(404, b"no such file", "text/plain")
            return self.send(200, path.read_bytes(), TYPES.get(path.suffix, "text/plain"))
        parts = [unquote(part) for part in address.path.removeprefix("/api/v1/").split("/")]
        query = parse_qs(address.query)
        store = Store(STORE)
        if parts == ["updates"]:
            return self.updates(store, asked(query, "run", "latest"))
        try:
            status, body = 200, answer(store, parts, query)
        except Absent as error:
            status, body = 404, {"error": str(error)}
        except ValueError as error:
            status, body = 400, {"error": str(error)}
        return self.send(status, json.dumps(body).encode(), "application/json")

    def updates(self, store, run):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        known = None
        try:
            while True:
                which = "run_id = ?" if run != "latest" else "run_id = (SELECT max(run_id) FROM run WHERE state = 'complete' OR (state = 'running' AND live)) OR ? IS NULL"
                found = store.rows(f"SELECT run_id, state, live, batches, written_ns, seen_ns, lag_ns FROM run WHERE {which}", run, drop=())
                if found and found[0] != known:
                    known = found[0]
                    self.wfile.write(f"event: run\ndata: {json.dumps(known)}\n\n".encode())
                    self.wfile.flush()
                time.sleep(0.2)
        except OSError:
            self.close_connection = True


if __name__ == "__main__":
    STORE = sys.argv[1]
    PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 7777
    print(f"http://127.0.0.1:{PORT}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()

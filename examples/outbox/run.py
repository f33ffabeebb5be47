#!/usr/bin/env python3
"""Plays the story of an outbox: python3 examples/outbox/run.py

It builds the sidecar (or takes the one that SIDECAR names), and starts it with an
embedded broker. Orders are written with their messages, one of them is rolled back. The
relay is killed between the post of a row and its deletion; then the sidecar is killed,
and an order written meanwhile. Each order makes one message, the one that was rolled
back none. It fails where that is not so.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from relay import Relay
from shop import Shop

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from sidecar import Sidecar, program, until

DYING = "--that-dies"


class DyingRelay(Relay):
    """Dies by kill -9 between the post of the second row and its deletion."""

    def posted(self, row):
        if row == 2:
            os.kill(os.getpid(), signal.SIGKILL)


class RelayProcess:
    """A relay beside us, and what it says."""

    def __init__(self, database, sidecar, *how):
        script = [__file__, *how] if how else [str(pathlib.Path(__file__).with_name("relay.py"))]
        self.process = subprocess.Popen([sys.executable, *script, database, sidecar], stdout=subprocess.PIPE, text=True)
        self.said = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.said.append(line)

    def sent(self):
        """What it posted: rows, messages, and whether the sidecar had them."""
        return [json.loads(line) for line in list(self.said) if line.startswith("{")]

    def end(self):
        self.process.kill()
        return self.ended()

    def ended(self):
        code = self.process.wait(timeout=60)
        self.reader.join()
        return code


def consumer(orders):
    """The handler of the topic: it notes the orders it is told of."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            orders.setdefault(self.headers["MQ-Message-Id"], json.loads(body)["order"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def accepted(sidecar):
    with urllib.request.urlopen(sidecar.admin + "/v1/ledger", timeout=30) as answer:
        return json.load(answer)["total"]["accepted"]


def expect(is_so, what):
    if not is_so:
        sys.exit("it is not so: " + what)
    print(what, flush=True)


def play(directory):
    orders = {}  # by message
    listener = consumer(orders)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    sidecar = Sidecar(program(directory), directory, f"http://127.0.0.1:{listener.server_port}/")
    address, database = sidecar.start(), f"{directory}/shop.db"
    shop, relay = Shop(database), None
    try:
        for order in ("order-1", "order-2"):
            shop.create(order, "a book")
        try:
            shop.create("order-3", "a book", fails=True)
        except RuntimeError as failed:
            print(failed, flush=True)

        relay = RelayProcess(database, address, DYING)
        relay.ended()
        expect([one["row"] for one in relay.sent()] == [1, 2] and shop.waiting() == 1,
               "the relay was killed between the post of row 2 and its deletion")
        posted = relay.sent()[1]["message"]

        relay = RelayProcess(database, address)
        until("the next relay has sent what waited", lambda: shop.waiting() == 0)
        relay.end()
        expect(relay.sent() == [{"row": 2, "message": posted, "duplicate": True}],
               "row 2 was posted twice, and the sidecar knew it again")

        sidecar.end(signal.SIGKILL)
        shop.create("order-4", "a book")
        relay = RelayProcess(database, address)
        until("the sidecar is dead: the relay begins again and again", lambda: sum("not now" in line for line in list(relay.said)) > 1)
        relay.end()
        expect(shop.waiting() == 1 and relay.sent() == [], "its row is kept")
        address = sidecar.start()
        relay = RelayProcess(database, address)
        until("order-4 was written while the sidecar was dead, and sent when it was back", lambda: shop.waiting() == 0)

        until("order-1, order-2 and order-4 have come", lambda: sorted(orders.values()) == ["order-1", "order-2", "order-4"])
        expect(accepted(sidecar) == 3, "three messages were stored, one for each order that was written")
    finally:
        if relay is not None:
            relay.end()
        sidecar.end(signal.SIGTERM)
        listener.shutdown()


if __name__ == "__main__":
    if sys.argv[1:2] == [DYING]:
        DyingRelay(*sys.argv[2:]).run()
    with tempfile.TemporaryDirectory() as directory:
        play(directory)

#!/usr/bin/env python3
"""Plays the story of order and payment: python3 examples/order-and-payment/python/run.py

It builds the sidecar (or takes the one that SIDECAR names), starts it with an
embedded broker, and the shop beside it. Four orders are made: one is paid and
committed; one is paid, and the shop never says so; one is cancelled; and the
sidecar is killed while one waits for its payment. Each paid order makes one
parcel, the cancelled one none. It fails where that is not so.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from shop import Shop, serve

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Sidecar:
    """A sidecar with a spool of its own, and the shop as a handler."""

    def __init__(self, program, directory, shop_url):
        self.command = [program, "run"]
        for setting in (
            f"spool.dir={directory}/spool", "broker.type=embedded",
            "listen.data=127.0.0.1:0", "listen.admin=127.0.0.1:0", "listen.health=127.0.0.1:0",
            f"subscriptions=[{{name: parcels, topic: orders, handler: {shop_url}/on-order}}]",
        ):
            self.command += ["--set", setting]

    def start(self):
        """Starts it, and returns the address for applications when it is ready."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = []
        for line in self.process.stdout:
            said.append(line)
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("msg") == "ready":
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return "http://" + entry["data"][0]
        sys.exit("the sidecar did not become ready:\n" + "".join(said))

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait()


def until(what, is_so):
    deadline = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit("not within a minute: " + what)
        time.sleep(0.1)
    print(what, flush=True)


def program(directory):
    if "SIDECAR" in os.environ:
        return os.environ["SIDECAR"]
    print("building the sidecar", file=sys.stderr, flush=True)
    subprocess.run(["go", "build", "-o", f"{directory}/sidecar", "./cmd/sidecar"], cwd=ROOT, check=True)
    return f"{directory}/sidecar"


def play(directory):
    shop = None
    listener = serve(lambda: shop)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{listener.server_port}"
    sidecar = Sidecar(program(directory), directory, url)
    shop = Shop(f"{directory}/shop.db", sidecar.start(), url)
    try:
        for order in ("order-1", "order-2", "order-3", "order-4"):
            shop.create(order, "a book")
        shop.pay("order-1")
        shop.commit("order-1")
        until("order-1 was paid and committed: its parcel is packed", lambda: "order-1" in shop.parcels())
        shop.pay("order-2")
        until("order-2 was paid, and the shop did not say so; the sidecar asked: its parcel is packed", lambda: "order-2" in shop.parcels())
        shop.cancel("order-3")
        sidecar.end(signal.SIGKILL)
        shop.pay("order-4")
        shop.sidecar = sidecar.start()
        until("order-4 was paid while the sidecar was dead; it asked when it was back: its parcel is packed", lambda: "order-4" in shop.parcels())
        until("order-3 was cancelled: rolled back", lambda: shop.state("order-3") == "rolled_back")
        if shop.parcels() != ["order-1", "order-2", "order-4"]:
            sys.exit(f"the parcels are {shop.parcels()}")
        print("three parcels, one for each order that was paid")
    finally:
        sidecar.end(signal.SIGTERM)
        listener.shutdown()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        play(directory)

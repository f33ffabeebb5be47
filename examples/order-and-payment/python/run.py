#!/usr/bin/env python3
"""Plays the story of order and payment: python3 examples/order-and-payment/python/run.py

It builds the sidecar (or takes the one that SIDECAR names), starts it with an
embedded broker, and the shop beside it. Four orders are made: one is paid and
committed; one is paid, and the shop never says so; one is cancelled; and the
sidecar is killed while one waits for its payment. Each paid order makes one
parcel, the cancelled one none. It fails where that is not so.
"""

import pathlib
import signal
import sys
import tempfile
import threading

from shop import Shop, serve

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from sidecar import Sidecar, program, until


def play(directory):
    shop = None
    listener = serve(lambda: shop)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{listener.server_port}"
    sidecar = Sidecar(program(directory), directory, url + "/on-order")
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

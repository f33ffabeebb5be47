"""A shop that tells of an order once it is paid, and of no other.

It keeps its orders in SQLite and speaks to the sidecar by HTTP; nothing but
Python's own library is needed. Three places matter:

  create()    the message is prepared first, then the order is written
  on_check()  the sidecar asks what became of an order, and the database answers
  on_order()  whoever consumes the message does its work once
"""

import json
import sqlite3
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders  (id TEXT PRIMARY KEY, item TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parcels (message_id TEXT PRIMARY KEY, order_id TEXT NOT NULL);
"""


class Shop:
    def __init__(self, database, sidecar, own_url):
        self.database, self.sidecar, self.own_url = database, sidecar, own_url
        with self.connect() as db:
            db.executescript(SCHEMA)

    def connect(self):
        return sqlite3.connect(self.database, timeout=30)

    def create(self, order, item):
        """The half message is durable before the order is: an order without its
        message cannot be. A message without its order is never sent: on_check."""
        self.post("/v1/transactions", {
            "id": order,
            "messages": [{"topic": "orders", "keys": [order], "body": json.dumps({"order": order, "item": item})}],
            "check": {"url": self.own_url + "/tx", "after": "1s", "interval": "1s", "max_attempts": 3600},
        })
        with self.connect() as db:  # the local transaction
            db.execute("INSERT INTO orders VALUES (?, ?, 'unpaid') ON CONFLICT DO NOTHING", (order, item))

    def pay(self, order):
        """What a payment provider's callback does. It may die right after its
        COMMIT, and never tell the sidecar: the check-back repairs that."""
        self.settle(order, "paid")

    def cancel(self, order):
        self.settle(order, "cancelled")

    def settle(self, order, state):
        with self.connect() as db:
            db.execute("UPDATE orders SET state = ? WHERE id = ? AND state = 'unpaid'", (state, order))

    def commit(self, order):
        """Optional: it saves the wait for the check-back. May be sent again."""
        self.post(f"/v1/transactions/{order}/commit", None)

    def on_check(self, order):
        """The database knows. An order that is not there is unknown, not rolled
        back: create() may be about to write it."""
        with self.connect() as db:
            row = db.execute("SELECT state FROM orders WHERE id = ?", (order,)).fetchone()
        return {"paid": "COMMIT", "cancelled": "ROLLBACK"}.get(row[0] if row else None, "UNKNOWN")

    def on_order(self, message_id, body):
        """The parcel and the mark that it was packed are one transaction."""
        with self.connect() as db:
            db.execute("INSERT INTO parcels VALUES (?, ?) ON CONFLICT DO NOTHING", (message_id, json.loads(body)["order"]))

    def parcels(self):
        with self.connect() as db:
            return [row[0] for row in db.execute("SELECT order_id FROM parcels ORDER BY order_id")]

    def state(self, order):
        with urllib.request.urlopen(f"{self.sidecar}/v1/transactions/{order}", timeout=30) as answer:
            return json.load(answer)["state"]

    def post(self, path, body):
        text = b"" if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.sidecar + path, text, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            raise RuntimeError(f"{path}: {refused.code} {refused.read().decode()}") from None


def serve(shop_of, port=0):
    """Starts the listener of the application; shop_of() is the shop."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, text = self.handled(body)
            except Exception as failed:  # no 200: the sidecar asks, or delivers, again
                print(failed, file=sys.stderr)
                status, text = 500, str(failed)
            try:
                self.answer(status, text)
            except ConnectionError:  # the sidecar is gone, and asks again when it is back
                pass

        def handled(self, body):
            if self.path == "/tx":
                return 200, shop_of().on_check(self.headers["MQ-Transaction-Id"])
            if self.path == "/on-order":
                shop_of().on_order(self.headers["MQ-Message-Id"], body)
                return 200, ""
            return 404, "nothing here"

        def answer(self, status, text):
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)

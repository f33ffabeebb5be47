#!/usr/bin/env python3
"""The relay of an outbox: python3 relay.py DATABASE SIDECAR

It posts each row in turn, under a key that is made of the row's ID, and deletes it once
the sidecar has answered that the message is on its disk. A relay that dies between the
two leaves the row: the next one posts it again under the same key, and the sidecar
answers with the message that it has, and stores nothing new.
"""

import fcntl
import http.client
import json
import sqlite3
import sys
import time
import urllib.error
import urllib.request


class Relay:
    def __init__(self, database, sidecar):
        self.database, self.sidecar = database, sidecar

    def run(self):
        """Relays for ever. There is one at a time: a second one waits here."""
        with open(self.database + ".relay", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            while True:
                try:
                    if self.relay() > 0:
                        continue
                except (OSError, http.client.HTTPException) as failed:  # the sidecar is away, or refuses: begin again, at the same row
                    print(f"not now: {failed}", flush=True)
                time.sleep(0.2)

    def relay(self):
        """Sends rows in the order of their IDs, and returns how many. What fails ends it:
        no row is passed over."""
        db = sqlite3.connect(self.database, timeout=30)
        try:
            rows = db.execute("SELECT id, topic, body FROM outbox ORDER BY id LIMIT 100").fetchall()
            for row, topic, body in rows:
                receipt = self.post(row, topic, body)
                print(json.dumps({"row": row, "message": receipt["id"], "duplicate": receipt["duplicate"]}), flush=True)
                self.posted(row)
                with db:
                    db.execute("DELETE FROM outbox WHERE id = ?", (row,))
            return len(rows)
        finally:
            db.close()

    def post(self, row, topic, body):
        """Returns the receipt of what the sidecar has on its disk; else it raises."""
        request = urllib.request.Request(f"{self.sidecar}/v1/topics/{topic}/messages", body, {
            "Content-Type": "application/json", "Idempotency-Key": f"outbox-{row}",
        }, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:  # 4xx and 5xx raise
            if answer.status not in (200, 202):
                raise urllib.error.URLError(f"answered {answer.status}")
            return json.load(answer)

    def posted(self, row):
        """Is called between the two: the sidecar has the message, and the row is there."""


if __name__ == "__main__":
    Relay(*sys.argv[1:]).run()

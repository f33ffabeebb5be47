"""A shop that tells of its orders by an outbox: no call to anybody is made inside its
database transaction, which needs the database alone."""

import json
import sqlite3

# AUTOINCREMENT: no ID is given twice, also not that of a row that is deleted. A repeated
# one would be taken for the same message.
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, body BLOB NOT NULL);
"""


class Shop:
    def __init__(self, database):
        self.database = database
        with self.connect() as db:
            db.executescript(SCHEMA)

    def connect(self):
        return sqlite3.connect(self.database, timeout=30)

    def create(self, order, item, fails=False):
        """The order and its message are one transaction: both are there, or neither is."""
        with self.connect() as db:
            db.execute("INSERT INTO orders VALUES (?, ?)", (order, item))
            db.execute("INSERT INTO outbox (topic, body) VALUES ('orders', ?)", (json.dumps({"order": order, "item": item}).encode(),))
            if fails:
                raise RuntimeError(f"{order} is rolled back")

    def waiting(self):
        """How many messages wait for the relay."""
        with self.connect() as db:
            return db.execute("SELECT count(*) FROM outbox").fetchone()[0]

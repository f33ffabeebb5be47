"""What the Python examples share: a sidecar to play with, and patience."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Sidecar:
    """A sidecar with a spool of its own, and a handler of the topic orders."""

    def __init__(self, program, directory, handler):
        self.command = [program, "run"]
        for setting in (
            f"spool.dir={directory}/spool", "broker.type=embedded",
            "listen.data=127.0.0.1:0", "listen.admin=127.0.0.1:0", "listen.health=127.0.0.1:0",
            f"subscriptions=[{{name: parcels, topic: orders, handler: {handler}}}]",
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
                self.admin = "http://" + entry["admin"]
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
    """The sidecar that SIDECAR names, or one that is built."""
    if "SIDECAR" in os.environ:
        return os.environ["SIDECAR"]
    print("building the sidecar", file=sys.stderr, flush=True)
    subprocess.run(["go", "build", "-o", f"{directory}/sidecar", "./cmd/sidecar"], cwd=ROOT, check=True)
    return f"{directory}/sidecar"

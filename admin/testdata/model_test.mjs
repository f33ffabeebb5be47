// Tests of what the console makes of a status: node --test admin/testdata
import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";

const source = readFileSync(new URL("../ui/model.js", import.meta.url), "utf8");
const { view, ledgerOf, line, bytes, duration } = runInNewContext(source + "\n;({ view, ledgerOf, line, bytes, duration })");
const same = (got, want) => assert.deepEqual(JSON.parse(JSON.stringify(got)), want); // of another realm

const now = Date.parse("2026-01-01T01:00:00Z");
const status = (more = {}) => ({
  version: "1", ready: true, unready: [], degraded: [], conditions: [], broker_type: "rocketmq",
  spool: {
    id: "0a", dir: "/data", messages: { half: 0, delayed: 2, pending: 600, in_flight: 0, retrying: 0, dead: 1 }, held: 0, kept_back: 0, resending: 0,
    transactions: { half: 1, undecided: 0, ending: 0 }, bytes: 603 << 10, room_bytes: 700 << 20, taken_bytes: 190 << 20, ballast_bytes: 190 << 20, limit_bytes: 1 << 30, oldest_unconfirmed_at: "2026-01-01T00:00:00Z", drain_seconds: 9.6,
  },
  forwarder: { flow: { accepted: 5, confirmed: 65 }, attempts_allowed: 64, topics_failing: 0, topics_parked: [], topics_paused: [], blocked_keys: 0 },
  brokers: { up: true, failing: [] }, dedupe: [{ store: "local", up: true }, { store: "redis", up: true }], subscriptions: [], blocked_keys: [],
  ...more,
});

test("a sidecar that is well", () => {
  const v = view(status(), now);
  same(v.verdict, { is: "good", text: "ready" });
  same([v.accept, v.forward].map((a) => [a.is, a.rate, a.why]), [["flows", "5.0/s", ""], ["flows", "65/s", ""]]);
  same([v.spool.waiting, v.spool.held, v.spool.oldest, v.spool.drained, v.spool.fill], [600, 603, "1 h 0 min", "in 10 s", "603 KiB"]);
  assert.equal(v.deliver.subscriptions, "no subscription");
  same(v.states.find((s) => s.state === "dead"), { state: "dead", n: 1, bad: true });
});

test("an outage of the broker is red, and says when the spool is full", () => {
  const s = status({
    degraded: ["broker", "topic-parked"], conditions: [{ name: "broker", is: true, since: "2026-01-01T00:59:00Z", stops_accept: false }, { name: "topic-parked", is: true, since: "2026-01-01T00:59:30Z", stops_accept: false }],
    brokers: { up: false, failing: ["broker-b"] },
  });
  delete s.spool.drain_seconds;
  s.forwarder = { ...s.forwarder, flow: { accepted: 100, confirmed: 0 }, topics_parked: [{ topic: "orders", status: "TOPIC_NOT_EXIST" }] };
  const v = view(s, now);
  same(v.verdict, { is: "warn", text: "ready, and degraded: broker, topic-parked" });
  same([v.forward.is, v.forward.why, v.accept.is], ["bad", "broker", "flows"]);
  same(v.conditions.map((c) => [c.name, c.since, c.detail]), [["broker", "for 1 min 0 s", "broker-b"], ["topic-parked", "for 30 s", "orders: TOPIC_NOT_EXIST"]]);
  same([v.spool.drained, v.spool.full], ["not in sight", "full in about 1 h 59 min"]);
});

test("the spool is as full as what stops accepting, of messages or of blocks", () => {
  const full = (spool, flow, ...names) => {
    const s = status({ conditions: names.map((name) => ({ name, is: true, since: "2026-01-01T00:59:00Z", stops_accept: false })) });
    Object.assign(s.spool, spool);
    s.forwarder.flow = flow;
    const v = view(s, now).spool;
    return [v.part, v.fill, v.limit, v.full];
  };
  const comes = { accepted: 100, confirmed: 0 };
  same(full({ bytes: 350 << 20 }, comes), [0.5, "350 MiB", "700 MiB for messages", "full in about 6 s"]);
  same(full({ taken_bytes: 607 << 20 }, comes).slice(0, 3), [0.5, "417 MiB", "834 MiB on the disk"]);
  same(full({ bytes: 690 << 20 }, comes, "spool-full"), [1, "690 MiB", "700 MiB for messages", "full"]);
  const dead = { half: 0, delayed: 0, pending: 1, in_flight: 0, retrying: 0, dead: 1023 };
  same(full({ bytes: 1 << 20, messages: dead }, { accepted: 699, confirmed: 0 })[3], "full in about 17 min 4 s");
});

test("nothing is accepted", () => {
  const v = view(status({ ready: false, unready: ["starting"], conditions: [{ name: "starting", is: true, since: "2026-01-01T00:59:59Z", stops_accept: true }], spool: null, forwarder: null, brokers: null, dedupe: [] }), now);
  same([v.verdict.is, v.accept.is, v.accept.why, v.accept.rate, v.spool.waiting], ["bad", "bad", "starting", "", ""]);
});

test("what a condition tells of itself is shown", () => {
  const v = view(status({ degraded: ["send-back-refused"], conditions: [{ name: "send-back-refused", is: true, since: "2026-01-01T00:59:00Z", stops_accept: false, means: "m", do: "d", detail: "billing: 3 are held" }],
    subscriptions: [{ name: "billing", in_flight: 0, leased: 0, held: 3, held_up: [{ cause: "send_back_refused", since: "2026-01-01T00:59:00Z" }] }] }), now);
  same([v.deliver.is, v.deliver.why, v.conditions[0].detail], ["bad", "send-back-refused", "billing: 3 are held"]);
});

test("a handler that is away", () => {
  const v = view(status({
    degraded: ["handler"], conditions: [{ name: "handler", is: true, since: "2026-01-01T00:59:00Z", stops_accept: false, means: "a handler is away", do: "'sidecar subscription list' says which" }],
    subscriptions: [
      { name: "billing", topic: "orders", group: "billing", mode: "push", state: "unreachable", held_up: [{ cause: "unreachable", since: "2026-01-01T00:59:00Z", detail: "refused" }], in_flight: 0, leased: 0, held: 48 },
      { name: "mail", topic: "orders", group: "mail", mode: "push", state: "running", held_up: [], in_flight: 2, leased: 1, held: 3 },
    ],
  }), now);
  same([v.deliver.is, v.deliver.rate, v.deliver.why, v.conditions[0].detail], ["bad", "3 at work", "handler", "billing"]);
  same(v.conditions[0].text, ["A handler is away.", "'sidecar subscription list' says which."]);
  assert.equal(v.subscriptions[0].why, "unreachable for 1 min 0 s: refused");
});

test("a ledger names what is missing", () => {
  const counts = { accepted: 10, confirmed: 6, cancelled: 1, rolled_back: 0, discarded: 0, lost: 1, in_spool: { pending: 2, dead: 0 } };
  same(ledgerOf({ balanced: true, total: counts, audit: { missing: [], damage: [] }, damage: { reports: null, seen: null } }).parts.map((p) => [p.name, p.n, p.share]),
    [["confirmed", 6, 0.6], ["in_spool", 2, 0.2], ["cancelled", 1, 0.1], ["rolled_back", 0, 0], ["discarded", 0, 0], ["lost", 1, 0.1]]);
  const damage = { reports: [{ at: "2026-01-01T00:00:00Z", found: ["a block"], quarantine: ["q/1"], lost: 3, sequences: [{ first: 7, last: 7 }, { first: 9, last: 10, topic: "orders" }], among: true }], seen: ["a receipt"] };
  const l = ledgerOf({ balanced: false, total: counts, audit: { missing: [7, 9], damage: [] }, damage });
  assert.equal(l.text, "not balanced: 2 missing");
  same(l.damage.map((d) => [d.lost, d.sequences, d.found, d.acknowledged]), [[3, "among 7, 9–10 of orders", "a block", "no"], [0, "", "a receipt", "no"]]);
});

test("numbers that people read", () => {
  same([0, 1023, 1536, 1 << 30].map(bytes), ["0 bytes", "1023 bytes", "1.5 KiB", "1.0 GiB"]);
  same([0, 59.6, 3599, 90000].map(duration), ["0 s", "1 min 0 s", "59 min 59 s", "1 d 1 h"]);
  assert.equal(line([0, 5, 10], 10, 100, 50), "M0.0 50.0L50.0 25.0L100.0 0.0");
  assert.equal(line([3], 3, 100, 50), "");
});

"use strict";

// What the console shows of a status, without a document to show it in. Scripts are no
// modules: a browser names the origin when it asks for one, and the listener takes no
// request that comes from a page of any.

const known = (all, ...names) => names.find((name) => all.includes(name));

// view is everything of a status that the page shows. now is in milliseconds.
function view(status, now) {
  const is = status.conditions.map((c) => c.name);
  const flow = status.forwarder ? status.forwarder.flow : null;
  return {
    version: status.version,
    verdict: verdictOf(status),
    conditions: status.conditions.map((c) => ({ name: c.name, since: ago(c.since, now), text: [sentence(c.means), sentence(c.do)], detail: c.detail || detailOf(c.name, status) })),
    accept: arrow(flow && flow.accepted, known(is, "starting", "stopping", "read-only", "sync-stalled", "spool-full", "disk-low")),
    forward: arrow(flow && flow.confirmed, known(is, "broker", "topic-parked", "topic-paused")),
    deliver: deliver(status.subscriptions, known(is, "dedupe-store", "handler", "handler-failing", "send-back-refused", "app-not-ready", "subscription-paused", "not-joined", "delivery-blocked")),
    spool: spoolOf(status.spool, flow, now, is.includes("spool-full")),
    broker: { text: status.broker_type, failing: status.brokers ? status.brokers.failing : [] },
    states: status.spool ? statesOf(status.spool) : [],
    dead: status.spool ? status.spool.messages.dead : 0,
    undecided: status.spool ? status.spool.transactions.undecided : 0,
    open: status.spool ? status.spool.transactions.half : 0,
    subscriptions: status.subscriptions.map((s) => ({ ...s, why: s.held_up.map((h) => `${h.cause} ${ago(h.since, now)}${h.detail ? ": " + h.detail : ""}`).join("; ") })),
    dedupe: status.dedupe,
  };
}

function verdictOf(status) {
  if (!status.ready) return { is: "bad", text: "not ready: " + status.unready.join(", ") };
  if (status.degraded.length > 0) return { is: "warn", text: "ready, and degraded: " + status.degraded.join(", ") };
  return { is: "good", text: "ready" };
}

function detailOf(name, status) {
  switch (name) {
    case "topic-parked": return status.forwarder.topics_parked.map((t) => `${t.topic}: ${t.status}`).join(", ");
    case "topic-paused": return status.forwarder.topics_paused.map((t) => t.topic).join(", ");
    case "broker": return status.brokers.failing.join(", ");
    case "dedupe-store": return status.dedupe.filter((d) => !d.up).map((d) => d.store).join(", ");
    default: return status.subscriptions.filter((s) => s.held_up.some((h) => held[h.cause] === name)).map((s) => s.name).join(", ");
  }
}

const held = { paused: "subscription-paused", not_ready: "app-not-ready", unreachable: "handler", failing: "handler-failing", send_back_refused: "send-back-refused", not_joined: "not-joined" };

function arrow(rate, why) {
  return { is: why ? "bad" : rate > 0 ? "flows" : "idle", rate: rate === null ? "" : perSecond(rate), why: why || "" };
}

function deliver(subscriptions, why) {
  if (subscriptions.length === 0) return { is: "idle", rate: "", why: "", subscriptions: "no subscription" };
  const calls = subscriptions.reduce((n, s) => n + s.in_flight + s.leased, 0);
  return { is: why ? "bad" : calls > 0 ? "flows" : "idle", rate: calls > 0 ? `${count(calls)} at work` : "", why: why || "", subscriptions: subscriptions.length === 1 ? "1 subscription" : `${count(subscriptions.length)} subscriptions` };
}

function spoolOf(spool, flow, now, full) {
  if (!spool) return { waiting: "", oldest: "", drained: "", part: 0, fill: "", limit: "" };
  const m = spool.messages;
  const waiting = m.pending + m.in_flight + m.retrying, held = Object.values(m).reduce((a, b) => a + b, 0);
  const messages = { taken: spool.bytes, limit: spool.room_bytes, of: "for messages" }, blocks = { taken: spool.taken_bytes - spool.ballast_bytes, limit: spool.limit_bytes - spool.ballast_bytes, of: "on the disk" };
  const nearer = blocks.taken / blocks.limit > messages.taken / messages.limit ? blocks : messages; // it is full by either
  return {
    id: spool.id, dir: spool.dir,
    waiting, held,
    oldest: spool.oldest_unconfirmed_at ? ago(spool.oldest_unconfirmed_at, now).replace(/^for /, "") : "none",
    drained: drainedIn(spool, waiting),
    part: full ? 1 : Math.min(nearer.taken / nearer.limit, 1),
    fill: bytes(nearer.taken), limit: `${bytes(nearer.limit)} ${nearer.of}`, full: full ? "full" : untilFull(spool, flow, held),
    keptBack: spool.kept_back,
  };
}

function drainedIn(spool, waiting) {
  if (waiting === 0) return "nothing waits";
  if (spool.drain_seconds === undefined) return "not in sight";
  if (waiting <= spool.kept_back) return "all that may go";
  return "in " + duration(spool.drain_seconds);
}

// untilFull takes what comes to be as large as what is held.
function untilFull(spool, flow, held) {
  const grows = flow ? flow.accepted - flow.confirmed : 0;
  if (grows <= 0 || held === 0) return "";
  const left = Math.min(spool.room_bytes - spool.bytes, spool.limit_bytes - spool.taken_bytes) / (spool.bytes / held) / grows;
  return left < 7 * 86400 ? "full in about " + duration(left) : "";
}

function statesOf(spool) {
  const rows = Object.entries(spool.messages).map(([state, n]) => ({ state: state.replace("_", " "), n, bad: state === "dead" && n > 0 }));
  return [...rows, { state: "on hold, by an operator", n: spool.held }, { state: "confirmed, and to be sent again", n: spool.resending }];
}

// ledgerOf explains a counted ledger: the parts of what was accepted.
function ledgerOf(ledger) {
  const t = ledger.total;
  const inSpool = Object.values(t.in_spool).reduce((a, b) => a + b, 0);
  const parts = [["confirmed", t.confirmed], ["in_spool", inSpool], ["cancelled", t.cancelled], ["rolled_back", t.rolled_back], ["discarded", t.discarded], ["lost", t.lost]];
  return {
    balanced: ledger.balanced, accepted: t.accepted,
    text: ledger.balanced ? "balanced" : "not balanced: " + (ledger.audit.missing.length > 0 ? `${count(ledger.audit.missing.length)} missing` : ledger.audit.damage[0] || "damage waits to be acknowledged"),
    damage: [...(ledger.damage.reports || []), ...(ledger.damage.seen || []).map((found) => ({ at: "", found: [found], quarantine: [], lost: 0, sequences: [] }))].map((d) => ({
      at: d.at, lost: d.lost, found: d.found.join("; "), quarantine: d.quarantine.join(", "), acknowledged: d.acknowledged_at ? "yes" : "no",
      sequences: (d.among ? "among " : "") + d.sequences.map((r) => (r.first === r.last ? `${r.first}` : `${r.first}–${r.last}`) + (r.topic ? ` of ${r.topic}` : "")).join(", "),
    })),
    parts: parts.map(([name, n]) => ({ name, n, share: t.accepted > 0 ? n / t.accepted : 0 })),
  };
}

// line is the path of a series in a box, the newest at its right; most is the series' top.
function line(series, most, width, height) {
  if (series.length < 2) return "";
  const step = width / (series.length - 1);
  return series.map((y, i) => `${i === 0 ? "M" : "L"}${(i * step).toFixed(1)} ${(height - (most > 0 ? y / most : 0) * height).toFixed(1)}`).join("");
}

function count(n) { return Math.round(n).toLocaleString("en-US"); }

function perSecond(n) { return (n >= 10 || n === 0 ? count(n) : n.toFixed(1)) + "/s"; }

function bytes(n) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit++; }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

// sentence makes one of the words of a condition, which are parts of sentences elsewhere.
function sentence(words) { return words ? words.replace(/^[a-z]/, (first) => first.toUpperCase()) + "." : ""; }

function ago(at, now) { return at ? "for " + duration((now - Date.parse(at)) / 1000) : ""; }

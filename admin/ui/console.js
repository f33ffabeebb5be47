"use strict";

// The page: asks, and puts what model.js makes of the answers where it belongs.

const every = 2000; // ms from one answer to the next question
const kept = 300; // samples of the history
const samples = { accepted: [], confirmed: [], at: [] };

const at = (id) => document.getElementById(id);
const put = (node, text) => { if (node.textContent !== String(text)) node.textContent = text; };

function element(name, text, kind) {
  const node = document.createElement(name);
  node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

function fill(table, rows) {
  at(table).tBodies[0].replaceChildren(...rows.map(({ cells, bad }) => {
    const row = element("tr", "", bad ? "bad" : "");
    row.append(...cells.map((c) => typeof c === "number" ? element("td", count(c), "number") : element("td", c ?? "")));
    return row;
  }));
}

async function ask(path, patience = 60000) {
  const answer = await fetch(path, { cache: "no-store", headers: { Accept: "application/json" }, signal: AbortSignal.timeout(patience) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.detail || answer.status}${body.hint ? ". " + body.hint : ""}`);
  return body;
}

function showArrow(id, a) {
  const g = at(id);
  g.setAttribute("class", "arrow " + a.is);
  put(g.querySelector(".rate"), a.rate);
  put(g.querySelector(".why"), a.why);
}

function showWay(v) {
  for (const id of ["accept", "forward", "deliver"]) showArrow(id, v[id]);
  const spool = at("spool"), level = spool.querySelector(".level"), height = 118 * v.spool.part;
  level.setAttribute("height", height);
  level.setAttribute("y", 159 - height);
  spool.setAttribute("class", v.accept.is === "bad" ? "stage bad" : "stage");
  put(spool.querySelector(".big"), v.spool.held === undefined ? "" : count(v.spool.held));
  put(spool.querySelector(".note"), v.spool.held === undefined ? "not open yet" : "held");
  at("broker").setAttribute("class", v.forward.is === "bad" ? "stage bad" : "stage");
  put(at("broker").querySelector(".note"), v.broker.text);
  at("handlers").setAttribute("class", v.deliver.is === "bad" ? "stage bad" : "stage");
  put(at("handlers").querySelector(".note"), v.deliver.subscriptions);
}

function showConditions(v) {
  at("conditions").replaceChildren(...v.conditions.map((c) => {
    const item = document.createElement("li");
    item.append(element("b", c.name), `${c.since}${c.detail ? ", " + c.detail : ""}. ${c.text[0]} `, element("span", c.text[1], "note"));
    return item;
  }));
}

function showCards(v) {
  put(at("oldest"), v.spool.oldest);
  put(at("oldest-note"), v.spool.waiting > 0 ? `${count(v.spool.waiting)} wait for the broker` : "");
  put(at("drained"), v.spool.drained);
  put(at("drained-note"), v.spool.keptBack > 0 ? `${count(v.spool.keptBack)} are kept back, by holds or dead letters` : "");
  put(at("fill"), v.spool.fill);
  at("fill-meter").value = v.spool.part;
  put(at("fill-note"), v.spool.limit ? `of ${v.spool.limit}${v.spool.full ? "; " + v.spool.full : ""}` : "");
  put(at("dead"), count(v.dead));
  put(at("undecided"), `${count(v.undecided)} undecided`);
}

function showHistory(status) {
  const flow = status.forwarder ? status.forwarder.flow : { accepted: 0, confirmed: 0 };
  for (const [name, value] of [["accepted", flow.accepted], ["confirmed", flow.confirmed], ["at", Date.now()]]) {
    samples[name].push(value);
    if (samples[name].length > kept) samples[name].shift();
  }
  const most = Math.max(...samples.accepted, ...samples.confirmed);
  for (const name of ["accepted", "confirmed"]) {
    const path = at("history").querySelector("path." + name);
    path.setAttribute("d", line(samples[name], most, 952, 106));
    path.setAttribute("transform", "translate(4 20)");
  }
  put(at("history").querySelector(".top"), perSecond(most));
  put(at("history").querySelector(".left"), duration((Date.now() - samples.at[0]) / 1000) + " ago");
}

function showTables(v) {
  fill("states", v.states.map((s) => ({ cells: [s.state, s.n], bad: s.bad })));
  at("subscriptions-section").hidden = v.subscriptions.length === 0;
  fill("subscriptions", v.subscriptions.map((s) => ({ cells: [s.name, s.topic, s.state, s.in_flight, s.leased, s.held, s.why], bad: s.state !== "running" })));
  at("dedupe-section").hidden = v.subscriptions.length === 0;
  fill("dedupe", v.dedupe.map((d) => ({
    cells: [d.store, d.up ? "yes" : "no", d.local ? d.local.marks : "", d.local ? `${bytes(d.local.bytes)} of ${bytes(d.local.limit_bytes)}` : "", d.local ? duration(d.local.window_seconds) : ""], bad: !d.up,
  })));
}

let causesDue = 0; // Infinity while they are asked for: many dead letters take a while

async function showCauses(dead) {
  at("causes-section").hidden = dead === 0;
  if (dead === 0 || Date.now() < causesDue) return;
  const asked = Date.now();
  causesDue = Infinity;
  if (at("causes").tBodies[0].rows.length === 0) put(at("causes-note"), "reading them all …");
  try {
    const { items } = await ask("/v1/dead-letters?group_by=cause");
    fill("causes", items.slice(0, 20).map((c) => ({
      cells: [c.messages, c.cause, c.topics.join(", ") + (c.more_topics ? ` and ${c.more_topics} more` : ""), ago(c.oldest_accepted_at, Date.now()).replace("for ", ""), c.last_error, c.example],
    })));
    put(at("causes-note"), "");
  } catch (failed) {
    put(at("causes-note"), "not told: " + failed.message);
  }
  causesDue = Date.now() + Math.max(15000, 10 * (Date.now() - asked)); // it reads them all
}

async function look() {
  try {
    const status = await ask("/v1/status"), v = view(status, Date.now());
    put(at("version"), v.version);
    at("verdict").className = v.verdict.is;
    put(at("verdict"), v.verdict.text);
    document.title = (v.verdict.is === "good" ? "" : "! ") + "Remora";
    showConditions(v);
    showWay(v);
    showCards(v);
    showHistory(status);
    showTables(v);
    showCauses(v.dead);
  } catch (failed) {
    at("verdict").className = "bad";
    put(at("verdict"), "the sidecar does not answer: " + failed.message);
    document.title = "! Remora";
  }
}

async function tally() {
  at("count").disabled = true;
  at("balance").className = "";
  put(at("balance"), "counting; a large spool takes a while …");
  try {
    const l = ledgerOf(await ask("/v1/ledger", 3600000));
    at("balance").className = l.balanced ? "good" : "bad";
    put(at("balance"), l.text);
    at("shares").replaceChildren(...l.parts.filter((p) => p.n > 0).map((p) => {
      const part = element("span", "", p.name);
      part.style.flexGrow = p.share;
      return part;
    }));
    fill("ledger", [{ cells: ["accepted", l.accepted] }, ...l.parts.map((p, i) => ({ cells: [(i === 0 ? "= " : "+ ") + p.name.replace("_", " "), p.n], bad: p.name === "lost" && p.n > 0 }))]);
    at("damage-section").hidden = l.damage.length === 0;
    fill("damage", l.damage.map((d) => ({ cells: [d.at, d.lost, d.sequences, d.quarantine, d.acknowledged, d.found], bad: d.acknowledged === "no" })));
  } catch (failed) {
    at("balance").className = "bad";
    put(at("balance"), failed.message);
  }
  at("count").disabled = false;
}

async function watch() {
  if (!document.hidden) await look();
  setTimeout(watch, every);
}

at("count").addEventListener("click", tally);
watch();

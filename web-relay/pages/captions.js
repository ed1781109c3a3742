// The page of live captions: ties the connection, the list of calls and the transcript together.

import { CallList, callTitle } from "./calls.js";
import { Connection } from "./connection.js";
import { roleNames, seconds } from "./format.js";
import { Transcript } from "./transcript.js";

// A caption's delay says something about this moment for so long.
const PACE_MS = 6_000;

// Slower than this, the captions are catching up rather than live.
const SLOW_MS = 5_000;

// What people are told about consent, while the call lasts and afterwards.
const CONSENT = {
  awaited: [
    "Waiting for consent. Nothing is transcribed until the parties are told or agree.",
    "Nobody consented. Nothing of this call was transcribed.",
  ],
  not_required: ["This call is being transcribed.", "This call was transcribed."],
  announced: [
    "This call is being transcribed. The parties were told.",
    "This call was transcribed. The parties were told.",
  ],
  granted: [
    "This call is being transcribed with consent.",
    "This call was transcribed with consent.",
  ],
  refused: [
    "Consent was refused. Nothing of this call is kept.",
    "Consent was refused. Nothing of this call is kept.",
  ],
};

// What stands where there is no caption yet.
const LISTENING = "Listening. Captions appear here when somebody speaks.";
const WITHHELD = "Captions appear here as soon as there is consent.";

const element = (id) => document.getElementById(id);
const show = (id, text) => {
  if (element(id).textContent !== text) element(id).textContent = text;
};

const transcript = new Transcript();
const calls = new CallList((id) => {
  location.hash = `call=${encodeURIComponent(id)}`;
});
const connection = new Connection(
  `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/captions`,
  { opened, message, state },
);

// The call on the screen; whether the relay does not know it; whether it can be captioned; the parties that another
// recogniser than the preferred one hears; who is on hold; its consent; whether it is over; the last delay, and when it was
// measured; whether the relay has ever sent its list.
let chosen = null;
let missing = false;
let available = true;
let standby = new Set();
let held = { everyone: false, parties: [] };
let consent = null;
let ended = false;
let lag = null;
let lagAt = 0;
let listed = false;

function opened() {
  connection.send({ type: "subscribe_calls" });
  if (chosen) subscribe();
}

function subscribe() {
  connection.send({ type: "subscribe", call_id: chosen, after_seq: transcript.lastSeq });
}

function message(message) {
  switch (message.type) {
    case "calls":
      listed = true;
      calls.update(message.calls, chosen);
      choose();
      describe();
      break;
    case "subscribed":
      if (message.call_id !== chosen) break;
      // The relay has lost what we have seen, and starts again.
      if (message.as_of_seq < transcript.lastSeq) restart();
      transcript.replayUpTo(message.as_of_seq);
      missing = false;
      reveal();
      break;
    case "error":
      if (message.code === "unknown_call" && message.call_id === chosen) {
        missing = true;
        reveal();
      }
      break;
    case "heartbeat":
      break;
    default:
      if (message.call_id === chosen) event(message);
  }
}

function event(event) {
  if (event.type === "status") {
    available = event.state !== "captions_unavailable";
    held = { everyone: event.is_on_hold === true, parties: event.parties_on_hold ?? [] };
    describeParties();
  }
  if (event.type === "recognition") {
    if (event.is_fallback) standby.add(event.party_id);
    else standby.delete(event.party_id);
  }
  if (event.type === "call_ended") ended = true;
  if (event.type === "consent") consent = event.state;
  if (event.latency_ms != null) {
    available = true;
    lag = event.latency_ms;
    lagAt = performance.now();
  }
  transcript.apply(event);
  tick();
}

// Shows what the address names, or else the call that matters most. A call that was not asked for by name gives way
// to a new one when it is over.
function choose() {
  const named = new URLSearchParams(location.hash.slice(1)).get("call");
  const current = chosen && calls.get(chosen);
  const over = !current || current.ended_unix_ms !== null;
  const preferred = calls.preferred();
  const automatic = over && preferred?.ended_unix_ms === null ? preferred.call_id : undefined;
  const next = named || automatic || chosen || preferred?.call_id || null;
  if (next !== chosen) {
    if (chosen) connection.send({ type: "unsubscribe", call_id: chosen });
    chosen = next;
    restart();
    if (chosen) subscribe();
  } else if (missing && calls.get(chosen)) {
    // It has begun since it was asked for.
    subscribe();
  }
  calls.choose(chosen);
  reveal();
}

// Shows the chosen call, or says why there is none to show.
function reveal() {
  const shown = Boolean(chosen) && !missing;
  element("call").hidden = !shown;
  element("empty").hidden = shown;
  if (shown || !listed) return;
  if (missing) {
    show("empty-title", "This call is not here");
    show("empty-text", "The relay knows no call of this name. Choose another one, or wait until it begins.");
  } else {
    show("empty-title", "No call right now");
    show("empty-text", "Captions appear here by themselves as soon as a supervised call begins.");
  }
}

function restart() {
  missing = false;
  available = true;
  standby = new Set();
  held = { everyone: false, parties: [] };
  consent = null;
  ended = false;
  lag = null;
  const call = calls.get(chosen);
  transcript.reset(chosen, call?.started_unix_ms ?? 0, call?.parties ?? []);
  show("call-title", call ? callTitle(call) : "Call");
  show("call-parties", "");
  describe();
}

function describe() {
  const call = calls.get(chosen);
  if (call) {
    transcript.describe(call.started_unix_ms, call.parties);
    show("call-title", callTitle(call));
    describeParties();
    if (call.ended_unix_ms !== null) ended = true;
    const live = call.ended_unix_ms === null;
    document.title = live ? "● Live call · Sidetone" : `${callTitle(call)} · Sidetone`;
  } else {
    document.title = "Sidetone live captions";
  }
  tick();
}

// Who is on the call, and which of them wait.
function describeParties() {
  const parties = calls.get(chosen)?.parties ?? [];
  const waiting = held.everyone ? [] : parties.filter((party) => held.parties.includes(party.party_id));
  const who = roleNames(parties);
  show("call-parties", waiting.length > 0 ? `${who} · on hold: ${roleNames(waiting)}` : who);
}

function state(state) {
  document.body.dataset.connection = state;
  const lost = state === "reconnecting";
  show("connection-text", { live: "Connected", reconnecting: "Reconnecting…" }[state] ?? "Connecting…");
  element("banner").hidden = !lost;
  // Once for each loss: an alert that repeats itself is noise.
  if (lost) {
    show("banner", "Connection lost. Reconnecting; the captions that you have stay, and what is missed will be filled in.");
    if (!listed) {
      show("empty-title", "Can't reach the caption service");
      show("empty-text", "Trying again until it answers.");
    }
  }
  tick();
}

// What the captions of the chosen call are doing at this moment.
function tick() {
  calls.tick();
  if (!chosen) return;
  const fresh = lag !== null && performance.now() - lagAt < PACE_MS;
  const live = document.body.dataset.connection === "live";
  let pace = ["listening", "Listening"];
  const notice = CONSENT[consent]?.[ended ? 1 : 0];
  const refused = consent === "refused";
  show("waiting", consent === "awaited" ? WITHHELD : LISTENING);
  element("consent").hidden = !notice;
  element("consent").dataset.consent = consent ?? "";
  if (notice) show("consent", notice);
  if (ended) pace = ["ended", "Call ended"];
  else if (!live) pace = ["waiting", "Waiting for the connection"];
  else if (refused) pace = ["refused", "Not transcribed"];
  else if (consent === "awaited") pace = ["awaited", "Waiting for consent"];
  else if (!available) pace = ["unavailable", "Captions unavailable, the call is not affected"];
  else if (held.everyone) pace = ["held", "On hold"];
  else if (fresh) pace = lag > SLOW_MS ? ["slow", "Catching up"] : ["live", standby.size > 0 ? "Live, by the standby recogniser" : "Live"];
  element("pace").dataset.pace = pace[0];
  show("pace-text", pace[1]);
  show("lag", fresh && live && !ended && !refused ? `${seconds(lag)} behind` : "");
}

addEventListener("hashchange", choose);
addEventListener("keydown", (press) => {
  if (press.ctrlKey || press.altKey || press.metaKey) return;
  if (press.target.closest("input, textarea, select, [contenteditable]")) return;
  const action = {
    j: () => transcript.step(1),
    k: () => transcript.step(-1),
    End: () => transcript.jumpToLive(),
    Escape: () => transcript.jumpToLive(),
  }[press.key];
  if (!action) return;
  action();
  press.preventDefault();
});
setInterval(tick, 1_000);
connection.open();

// The chosen call's captions. A row belongs to one segment of one party, from its first partial to its final, and keeps
// its place on the screen. A party may be heard on one stream after another: the anchor tells them apart. Text from the call reaches the page through textContent only.

import { clock, seconds, speakerNames } from "./format.js";
import { Follow } from "./follow.js";

const GAP_REASONS = {
  packet_loss: "lost on the line",
  transcriber_unavailable: "no transcriber was there",
  overload: "the transcriber was too busy",
  recogniser_failed: "could not be transcribed",
  supervision_interrupted: "nobody listened",
};

const WITHDRAW_MS = 300;

export class Transcript {
  #log = document.getElementById("transcript");
  #waiting = document.getElementById("waiting");
  #ended = document.getElementById("ended");
  #follow = new Follow(this.#log);
  #rows = new Map();
  #parties = new Map();
  #names = new Map();
  #startedAt = 0;
  #replayTo = 0;
  #purged = false;
  #call = null;

  // The newest event that was shown: where to resume.
  lastSeq = 0;

  // Shows another call, or the same one from the start.
  reset(callId, startedAt, parties) {
    this.#call = callId;
    this.lastSeq = 0;
    this.#replayTo = 0;
    this.#rows.clear();
    this.#parties.clear();
    this.#log.replaceChildren();
    this.#ended.hidden = true;
    this.#purged = false;
    this.#waiting.hidden = false;
    this.describe(startedAt, parties);
    this.#follow.reset();
  }

  // What the list of calls knows.
  describe(startedAt, parties) {
    for (const party of parties) this.#parties.set(party.party_id, party);
    this.#rename();
    if (startedAt === this.#startedAt) return;
    this.#startedAt = startedAt;
    for (const row of this.#rows.values()) this.#place(row);
  }

  // A screen reader is not read the past: the log counts as busy until the replay is through.
  replayUpTo(seq) {
    this.#replayTo = seq;
    this.#log.setAttribute("aria-busy", String(this.lastSeq < seq));
  }

  apply(event) {
    this.lastSeq = Math.max(this.lastSeq, event.seq);
    // Nothing is said any more once consent was refused, and what comes late is not shown.
    const speech = ["partial", "final", "gap"].includes(event.type);
    if (speech && this.#purged) return;
    if (event.type === "gap") this.#gap(event);
    else if (speech) this.#caption(event);
    else if (event.type === "call_started") this.describe(event.started_unix_ms, event.parties);
    else if (event.type === "call_ended") this.#end(event);
    else if (event.type === "consent" && event.state === "refused") this.#purge();
    if (this.lastSeq >= this.#replayTo) this.#log.setAttribute("aria-busy", "false");
    this.#follow.changed();
  }

  jumpToLive() {
    this.#follow.jump();
  }

  // Moves the keyboard focus to the next (1) or previous (-1) row.
  step(direction) {
    const rows = this.#log.children;
    const at = [...rows].indexOf(document.activeElement);
    const fresh = direction > 0 ? 0 : rows.length - 1;
    rows[at < 0 ? fresh : Math.min(rows.length - 1, Math.max(0, at + direction))]?.focus();
  }

  #caption(event) {
    const key = `${event.party_id}\n${event.anchor_unix_ms}\n${event.segment}`;
    let row = this.#rows.get(key);
    // A final is the last word on its segment.
    if (row?.element.dataset.state === "final") return;
    if (row && event.type === "partial" && event.revision <= row.revision) return;
    if (event.text.trim() === "") return this.#withdraw(key, row, event);

    row ??= this.#create(key, event);
    row.revision = event.revision;
    row.startMs = event.start_ms;
    this.#place(row);
    if (event.type === "partial") {
      const stable = span("stable", event.text.slice(0, event.stable_len));
      const tentative = span("tentative", event.text.slice(event.stable_len));
      row.text.replaceChildren(stable, tentative);
      return;
    }
    // New to a screen reader, which is told of additions only; in its place for everybody else.
    const text = row.text.cloneNode(false);
    text.textContent = event.text;
    row.text.replaceWith(text);
    row.text = text;
    row.element.dataset.state = "final";
    row.element.removeAttribute("aria-hidden");
    this.#follow.added();
  }

  // An empty final takes back its partials; the row fades, so that nothing vanishes under the reader's eye.
  #withdraw(key, row, event) {
    if (event.type === "partial" || !row) return;
    this.#rows.delete(key);
    row.element.classList.add("withdrawn");
    setTimeout(() => row.element.remove(), WITHDRAW_MS);
  }

  #gap(event) {
    const key = `${event.party_id}\n${event.anchor_unix_ms}\ngap ${event.start_ms}`;
    if (this.#rows.has(key)) return;
    const row = this.#create(key, event);
    row.element.dataset.kind = "gap";
    row.element.dataset.state = "final";
    row.element.removeAttribute("aria-hidden");
    const reason = GAP_REASONS[event.reason];
    const length = `[audio gap ${seconds(event.end_ms - event.start_ms)}]`;
    row.text.textContent = reason ? `${length} ${reason}` : length;
    this.#place(row);
    this.#follow.added();
  }

  #end(event) {
    for (const [key, row] of this.#rows) {
      if (row.element.dataset.state === "final") continue;
      this.#rows.delete(key);
      row.element.remove();
    }
    this.#waiting.hidden = true;
    this.#ended.hidden = false;
    this.#ended.textContent = `Call ended after ${clock(event.ended_unix_ms - this.#startedAt)}`;
  }

  // Consent was refused: what was said is taken off the screen.
  #purge() {
    this.#purged = true;
    this.#rows.clear();
    this.#log.replaceChildren();
    this.#waiting.hidden = true;
  }

  #create(key, { party_id: partyId, role, segment, start_ms: startMs, anchor_unix_ms: anchor }) {
    if (this.#parties.get(partyId)?.role !== role) {
      this.#parties.set(partyId, { party_id: partyId, role });
      this.#rename();
    }
    const element = document.createElement("div");
    element.className = "row";
    element.tabIndex = -1;
    element.setAttribute("aria-hidden", "true");
    Object.assign(element.dataset, { call: this.#call, party: partyId, role, state: "partial" });
    if (segment !== undefined) element.dataset.segment = segment;

    const label = document.createElement("div");
    label.className = "row-label";
    const who = span("row-who", "");
    const time = document.createElement("time");
    time.className = "row-time";
    label.append(who, time);
    const text = document.createElement("p");
    text.className = "row-text";
    text.dir = "auto";
    element.append(label, text);

    const row = { element, who, time, text, partyId, anchor, startMs, revision: -1, at: NaN };
    this.#rows.set(key, row);
    this.#name(row);
    this.#waiting.hidden = true;
    return row;
  }

  // Puts a row where its start time belongs. Almost always that is the end.
  #place(row) {
    const at = row.anchor + row.startMs;
    row.time.textContent = clock(at - this.#startedAt);
    if (at === row.at) return;
    row.at = at;
    row.element.rowAt = at;
    let before = this.#log.lastElementChild;
    while (before && (before === row.element || before.rowAt > at)) {
      before = before.previousElementSibling;
    }
    const next = before ? before.nextElementSibling : this.#log.firstElementChild;
    if (next !== row.element) this.#log.insertBefore(row.element, next);
  }

  #rename() {
    this.#names = speakerNames([...this.#parties.values()]);
    for (const row of this.#rows.values()) this.#name(row);
  }

  #name(row) {
    const name = this.#names.get(row.partyId) ?? "Speaker";
    row.who.textContent = name;
    row.element.dataset.speaker = name.endsWith(" B") ? "b" : "a";
  }
}

function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

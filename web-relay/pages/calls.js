// The list of calls: which there are, and which one is chosen.

import { clock, roleNames } from "./format.js";

export class CallList {
  #nav = document.getElementById("calls");
  #list = document.getElementById("call-list");
  #choices = new Map();
  #calls = [];

  constructor(onChoose) {
    this.#list.addEventListener("click", ({ target }) => {
      const choice = target.closest("button[data-call]");
      if (choice) onChoose(choice.dataset.call);
    });
  }

  get(id) {
    return this.#calls.find((call) => call.call_id === id);
  }

  // The call that somebody who has not chosen wants to see: the newest in progress, or else the newest.
  preferred() {
    return this.#calls.find((call) => call.ended_unix_ms === null) ?? this.#calls[0];
  }

  update(calls, chosen) {
    this.#calls = calls;
    this.#nav.hidden = calls.length === 0;
    const known = new Set(calls.map((call) => call.call_id));
    for (const [id, choice] of this.#choices) {
      if (known.has(id)) continue;
      choice.item.remove();
      this.#choices.delete(id);
    }
    calls.forEach((call, index) => {
      const choice = this.#choices.get(call.call_id) ?? this.#create(call.call_id);
      choice.title.textContent = callTitle(call);
      choice.parties.textContent = roleNames(call.parties);
      choice.button.dataset.callState = call.ended_unix_ms === null ? "active" : "ended";
      const there = this.#list.children[index];
      if (there !== choice.item) this.#list.insertBefore(choice.item, there ?? null);
    });
    this.choose(chosen);
    this.tick();
  }

  choose(id) {
    for (const [call, { button }] of this.#choices) {
      if (call === id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  // Brings the running durations up to date.
  tick() {
    for (const call of this.#calls) {
      const choice = this.#choices.get(call.call_id);
      const ended = call.ended_unix_ms !== null;
      const text = ended ? "Ended" : `Live ${clock(Date.now() - call.started_unix_ms)}`;
      if (choice.state.textContent !== text) choice.state.textContent = text;
    }
  }

  #create(id) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "call-choice";
    button.dataset.call = id;
    const [title, state, parties] = ["title", "state", "parties"].map((part) => {
      const span = document.createElement("span");
      span.className = `call-choice-${part}`;
      button.append(span);
      return span;
    });
    item.append(button);
    const choice = { item, button, title, state, parties };
    this.#choices.set(id, choice);
    return choice;
  }
}

export function callTitle(call) {
  const started = new Date(call.started_unix_ms);
  return `Call at ${started.toLocaleTimeString([], { hour: "numeric", minute: "2-digit" })}`;
}

// The WebSocket: opens it, opens it again whenever it is lost, and notices when it is dead without saying so.

const SUBPROTOCOL = "captions.v1";

// The relay sends something at least every 5 s; two heartbeats missed and a bit mean that the connection is dead.
const SILENCE_MS = 12_000;

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #attempt = 0;
  #retry = 0;
  #watchdog = 0;

  // `handlers`: opened(), message(object), state("connecting" | "live" | "reconnecting").
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#retryNow();
    });
  }

  open() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    this.#listen();
    socket.addEventListener("open", () => {
      if (socket !== this.#socket) return;
      this.#handlers.state("live");
      this.#handlers.opened();
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.#socket) return;
      // Only now: a relay that accepts and closes at once is backed off from, too.
      this.#attempt = 0;
      this.#listen();
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        return;
      }
      this.#handlers.message(message);
    });
    socket.addEventListener("close", () => this.#lost(socket));
  }

  send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #listen() {
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    this.#watchdog = setTimeout(() => {
      socket.close();
      // A dead connection takes a minute to close; the next one need not wait for it.
      this.#lost(socket);
    }, SILENCE_MS);
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#watchdog);
    this.#handlers.state("reconnecting");
    const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    // Spread out, so that a relay that restarts does not meet everybody at once.
    this.#retry = setTimeout(() => this.open(), ceiling * (0.5 + Math.random() / 2));
  }

  #retryNow() {
    if (this.#retry) this.open();
  }
}

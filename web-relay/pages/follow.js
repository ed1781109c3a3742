// Keeps the newest line in view for whoever is at the end, and still for whoever reads further up.

// Closer to the end than this counts as being there.
const NEAR_PX = 48;

export class Follow {
  #scroller = document.getElementById("scroller");
  #button = document.getElementById("jump");
  #following = true;
  #unseen = 0;
  #height = 0;

  constructor(content) {
    this.#button.addEventListener("click", () => this.jump());
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // The end moves when the window or the text changes its size, too.
    const sizes = new ResizeObserver(() => this.changed());
    sizes.observe(this.#scroller);
    sizes.observe(content);
  }

  reset() {
    this.#following = true;
    this.#unseen = 0;
    this.#show();
    this.changed();
  }

  jump() {
    this.reset();
    this.#scroller.focus({ preventScroll: true });
  }

  // A final line has come.
  added() {
    if (this.#following) return;
    this.#unseen += 1;
    this.#show();
  }

  // Anything has changed its size.
  changed() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#height = this.#scroller.scrollHeight;
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight <= NEAR_PX;
    // Text that came since the last look moves the end away; that is not the reader's doing.
    if (!atEnd && this.#following && scrollHeight !== this.#height) return;
    this.#following = atEnd;
    if (atEnd) this.#unseen = 0;
    this.#show();
  }

  #show() {
    this.#button.hidden = this.#following;
    const count = this.#unseen > 0 ? ` (${this.#unseen} new)` : "";
    this.#button.textContent = `Jump to live${count}`;
  }
}

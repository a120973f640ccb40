// <run-progress data-url data-poll>: follows a run by server-sent events, by polling where they do not come through.
class RunProgress extends HTMLElement {
  connectedCallback() {
    this.tries = 0;
    if (this.dataset.url && "EventSource" in window) this.listen(); else this.poll();
  }

  disconnectedCallback() { this.end(); this.waiting?.abort(); }

  end() { this.source?.close(); this.source = null; clearTimeout(this.timer); }

  listen() {
    this.source = new EventSource(this.dataset.url);
    this.source.addEventListener("progress", (event) => { this.tries = 0; this.show(JSON.parse(event.data)); });
    this.source.addEventListener("error", () => {
      this.tries += 1;
      if (this.tries >= 3 || this.source?.readyState === EventSource.CLOSED) { this.end(); this.poll(); }
    });
  }

  async poll() {
    try {
      const answer = await fetch(this.dataset.poll, { headers: { Accept: "application/json" } });
      if (answer.status === 401 || answer.status === 404 || answer.redirected) { this.again(3000); return; }
      if (answer.ok) { this.tries = 0; this.show(await answer.json()); }
    } catch { this.tries += 1; }
    if (this.isConnected && !this.done) this.timer = setTimeout(() => this.poll(), Math.min(2000 * 2 ** Math.min(this.tries, 4), 30000));
  }

  // Loads the page anew; while somebody is typing into it or answering a question, as soon as that is over.
  again(wait) {
    this.done = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const busy = document.querySelector("dialog[open]") || document.activeElement?.matches("input, textarea, select");
      if (!busy) { this.waiting?.abort(); location.reload(); return; }
      if (this.waiting) return;
      this.waiting = new AbortController();
      const { signal } = this.waiting;
      // What a click does, such as sending the form or following a link, comes first.
      document.addEventListener("focusout", () => this.again(500), { signal });
      document.addEventListener("close", () => this.again(500), { signal, capture: true });
      addEventListener("beforeunload", () => clearTimeout(this.timer), { signal });
    }, wait);
  }

  show(news) {
    if (news.final) {
      this.end();
      this.again(300);
    }
    for (const part of this.querySelectorAll("[data-part]")) {
      const text = news[part.dataset.part];
      if (typeof text === "string" && part.textContent !== text) part.textContent = text;
    }
    const status = this.querySelector("[data-part=status]");
    if (status && news.tone !== undefined) status.className = `status is-${news.tone}${news.ring ? " is-ring" : ""}`;
    const row = this.querySelector("[data-windows]");
    if (!row || !Array.isArray(news.windows) || !news.windows.length) return;
    while (row.children.length > news.windows.length) row.lastElementChild.remove();
    while (row.children.length < news.windows.length) { const bar = document.createElement("progress"); bar.max = 100; row.append(bar); }
    news.windows.forEach((percent, i) => { row.children[i].value = percent; });
  }
}
customElements.define("run-progress", RunProgress);

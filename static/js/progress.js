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
      if (!this.isBusy()) { this.waiting?.abort(); location.reload(); return; }
      if (this.waiting) return;
      this.waiting = new AbortController();
      const { signal } = this.waiting;
      // What a click does, such as sending the form or following a link, comes first.
      document.addEventListener("focusout", () => this.again(500), { signal });
      document.addEventListener("close", () => this.again(500), { signal, capture: true });
      addEventListener("beforeunload", () => clearTimeout(this.timer), { signal });
    }, wait);
  }

  // The head of the page says the same as the strip. What follows a run's end is the DataSet's affair, which the page itself knows.
  async announce(news, look) {
    for (const place of document.querySelectorAll(`[data-run-status="${this.dataset.run}"] .status`)) {
      if (news.final || news.tone === undefined) continue;
      place.textContent = news.status;
      place.className = look;
    }
    if (!news.final || !this.isBusy()) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok || answer.redirected) return;
      document.querySelector(".head .facts")?.replaceWith(page.querySelector(".head .facts"));
      for (const button of document.querySelectorAll("[data-run-now]")) button.disabled = page.querySelector("[data-run-now]")?.disabled ?? true;
    } catch { /* the page is loaded anew as soon as nobody is busy on it */ }
  }

  // Somebody is typing into the page, or answers a question.
  isBusy() { return Boolean(document.querySelector("dialog[open]") || document.activeElement?.matches("input, textarea, select")); }

  show(news) {
    if (news.final) {
      this.end();
      this.again(0);
    }
    for (const part of this.querySelectorAll("[data-part]")) {
      const text = news[part.dataset.part];
      if (typeof text === "string" && part.textContent !== text) part.textContent = text;
    }
    const status = this.querySelector("[data-part=status]");
    const look = `status is-${news.tone}${news.ring ? " is-ring" : ""}`;
    if (status && news.tone !== undefined) status.className = look;
    const stop = this.querySelector("[data-part=stop]");
    if (stop) stop.hidden = !news.stoppable;
    this.announce(news, look);
    const row = this.querySelector("[data-windows]");
    if (!row || !Array.isArray(news.windows) || !news.windows.length) return;
    while (row.children.length > news.windows.length) row.lastElementChild.remove();
    while (row.children.length < news.windows.length) { const bar = document.createElement("progress"); bar.max = 100; row.append(bar); }
    news.windows.forEach((percent, i) => { row.children[i].value = percent; });
  }
}
customElements.define("run-progress", RunProgress);

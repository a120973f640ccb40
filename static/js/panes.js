// Opens a finished pane in place, and warns before typed changes are left behind.
(() => {
  for (const form of document.querySelectorAll("form[data-panes]")) {
    const panes = [...form.querySelectorAll("[data-pane]")];
    const open = (wanted) => {
      for (const pane of panes) {
        const part = pane.querySelector("[data-pane-part]");
        const was = pane.classList.contains("is-open");
        const now = pane === wanted;
        if (was && !now) pane.classList.replace("is-open", pane.dataset.was ?? "is-later");
        if (now && !was) {
          pane.dataset.was = pane.classList.contains("is-review") ? "is-review" : "is-done";
          pane.classList.remove("is-done", "is-review");
          pane.classList.add("is-open");
        }
        part.hidden = !now;
        const edit = pane.querySelector("[data-open-pane]");
        if (edit) edit.hidden = now;
      }
      form.querySelector("[data-default-step]").value = wanted.dataset.mainStep;
      wanted.querySelector("input:not([type=hidden]), select, textarea")?.focus({ preventScroll: true });
      wanted.scrollIntoView({ block: "nearest" });
    };
    form.addEventListener("click", (event) => {
      const button = event.target.closest("[data-open-pane]");
      // The server opens a pane that must stay open for a reason it gives; anything else opens here.
      if (!button || panes.some((pane) => pane.classList.contains("is-open") && !pane.querySelector("[data-open-pane]"))) return;
      event.preventDefault();
      open(button.closest("[data-pane]"));
    });
    const wrong = form.querySelector("[data-pane].is-open [aria-invalid]");
    if (wrong) wrong.focus();
  }
  for (const form of document.querySelectorAll("form[data-guard]")) {
    let typed = false;
    form.addEventListener("input", () => { typed = true; });
    form.addEventListener("submit", () => { typed = false; });
    for (const way of document.querySelectorAll("[data-leave]")) way.addEventListener("click", () => { typed = false; });
    addEventListener("beforeunload", (event) => { if (typed) event.preventDefault(); });
  }
})();

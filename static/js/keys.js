// Keys: / to search, j and k to move in a table, o or Enter to open, r to run the DataSet now.
(() => {
  const rows = () => [...document.querySelectorAll("table[data-keys] tr[data-row]")];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog, [contenteditable]")) return;
    if (event.key === "/") {
      document.querySelector("[data-search]")?.focus();
      event.preventDefault();
      return;
    }
    const all = rows();
    const here = all.findIndex((row) => row.classList.contains("is-here"));
    if (event.key === "j" || event.key === "k") {
      const next = all[Math.max(0, Math.min(all.length - 1, here + (event.key === "j" ? 1 : -1)))];
      if (!next) return;
      all[here]?.classList.remove("is-here");
      next.classList.add("is-here");
      next.scrollIntoView({ block: "nearest" });
      next.querySelector("[data-open]")?.focus({ preventScroll: true });
    } else if (event.key === "o" && here >= 0) {
      all[here].querySelector("[data-open]")?.click();
    } else if (event.key === "r" && here >= 0) {
      const button = all[here].querySelector("form[data-run] button");
      if (button && !button.disabled) button.form.requestSubmit(button);
    }
  });
})();

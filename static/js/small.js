// Small helps: the first field with an error has the focus, a toast goes away, a menu sends its form when changed, a search narrows a table
// while typing.
(() => {
  document.querySelector("main [aria-invalid=true]")?.focus();
  for (const toast of document.querySelectorAll("[data-toast]")) {
    toast.querySelector("[data-dismiss]")?.addEventListener("click", () => toast.remove());
    setTimeout(() => { if (!toast.matches(":hover, :focus-within")) toast.remove(); }, 8000);
  }
  for (const form of document.querySelectorAll("form[data-submit-on-change]")) form.addEventListener("change", () => form.requestSubmit());
  for (const input of document.querySelectorAll("[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    if (!table) continue;
    const rows = [...table.tBodies[0].rows];
    const none = document.querySelector(`[data-no-match="${table.id}"]`);
    const look = () => {
      const words = input.value.trim().toLowerCase();
      const ranked = rows.map((row, i) => ({ row, i, rank: words ? rankOf(row.querySelector(".name").textContent, row.textContent, words) : 0 }));
      for (const { row, rank } of ranked) row.hidden = rank === Infinity;
      table.tBodies[0].append(...ranked.sort((a, b) => a.rank - b.rank || a.i - b.i).map(({ row }) => row));
      const empty = rows.every((row) => row.hidden);
      for (const part of document.querySelectorAll(`[data-filtered="${table.id}"]`)) part.hidden = empty;
      // What is not searched is out of the way of what was found.
      for (const part of document.querySelectorAll(`[data-unsearched="${table.id}"]`)) part.hidden = words !== "";
      if (!none) return;
      none.hidden = !empty;
      none.querySelector("[data-searched]").textContent = input.value.trim();
    };
    input.addEventListener("input", look);
    none?.querySelector("[data-clear]")?.addEventListener("click", (event) => {
      event.preventDefault();
      input.value = "";
      look();
      input.focus();
    });
  }
})();

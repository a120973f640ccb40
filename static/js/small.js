// Small helps: a toast goes away, a menu sends its form when changed, a search narrows a table while typing.
(() => {
  for (const toast of document.querySelectorAll("[data-toast]")) {
    toast.querySelector("[data-dismiss]")?.addEventListener("click", () => toast.remove());
    setTimeout(() => { if (!toast.matches(":hover, :focus-within")) toast.remove(); }, 8000);
  }
  for (const form of document.querySelectorAll("form[data-submit-on-change]")) form.addEventListener("change", () => form.requestSubmit());
  for (const input of document.querySelectorAll("[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    if (!table) continue;
    input.addEventListener("input", () => {
      const words = input.value.trim().toLowerCase();
      for (const row of table.tBodies[0].rows) row.hidden = words !== "" && !row.textContent.toLowerCase().includes(words);
    });
  }
})();

// A link with data-dialog shows the question of the page it leads to in a <dialog>. Without scripts the page itself asks.
(() => {
  const show = async (link) => {
    const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const body = page.querySelector("[data-dialog-body]");
    if (!answer.ok || !body) throw new Error("no question on that page");
    const dialog = document.createElement("dialog");
    const title = body.querySelector("h1, h2");
    title.id = "dialog-title";
    dialog.setAttribute("aria-labelledby", "dialog-title");
    dialog.append(document.adoptNode(body));
    document.body.append(dialog);
    dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-cancel]")) {
        event.preventDefault();
        dialog.close();
      }
    });
    dialog.showModal();
    dialog.querySelector("[data-cancel]")?.focus();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    link.closest("details[data-menu]")?.removeAttribute("open");
    show(link).catch(() => { location.href = link.href; });
  });
})();

// A preview belongs to what was asked for it. As soon as the form asks for something else, it says that it is out of date.
(() => {
  const fields = ["account_id", "report", "start_days", "end_days", "group", "login", "report_weekday", "group_by", "tag", "include_pending", "agent_details", "time_zone"];
  const box = document.getElementById("preview");
  const form = box?.closest("form");
  if (!form) return;
  const question = () => JSON.stringify([...new FormData(form)].filter(([name]) => fields.includes(name)));
  let asked = question();
  const look = () => {
    const preview = box.querySelector(".preview");
    const words = preview?.querySelector(".preview-head p");
    // Nothing is shown yet, or the next one is on its way.
    if (!words || !preview.querySelector("table, .band") || box.hasAttribute("aria-busy")) return;
    const stale = question() !== asked;
    if (stale === preview.classList.contains("is-stale")) return;
    preview.classList.toggle("is-stale", stale);
    if (stale) {
      words.dataset.was = words.textContent;
      words.textContent = "The settings changed. Reload the preview.";
    } else {
      words.textContent = words.dataset.was;
    }
  };
  form.addEventListener("click", (event) => { if (event.target.closest("button[data-fragment='#preview']")) asked = question(); }, true);
  form.addEventListener("input", look);
  form.addEventListener("change", look);
  box.addEventListener("chatlake:fragment", look);
})();

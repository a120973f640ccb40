// Fetches a part of the page by posting its form, and puts it in place. Any failure falls back to sending the form.
(() => {
  const load = async (form, step, target) => {
    const data = new FormData(form);
    data.set("step", step);
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(data), headers: { "X-Chatlake-Fragment": step } });
    const text = await answer.text();
    if (!answer.ok || answer.headers.get("X-Chatlake-Fragment") !== step) throw new Error("no fragment");
    const page = new DOMParser().parseFromString(text, "text/html");
    target.replaceChildren(...page.body.childNodes);
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-fragment]");
    if (!button) return;
    const target = document.querySelector(button.dataset.fragment);
    event.preventDefault();
    const wait = document.createElement("span");
    wait.className = "spinner";
    button.prepend(wait);
    button.setAttribute("aria-disabled", "true");
    target.setAttribute("aria-busy", "true");
    const quiet = target.querySelector(".preview-head p");
    if (quiet) quiet.textContent = `${button.dataset.busy} …`;
    try { await load(button.form, button.value, target); } catch { button.removeAttribute("data-fragment"); button.form.requestSubmit(button); }
    target.removeAttribute("aria-busy");
    target.dispatchEvent(new CustomEvent("chatlake:fragment"));
  });
  for (const box of document.querySelectorAll("[data-fragment-on-change]")) {
    let timer;
    let turn = 0;
    const later = () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const mine = ++turn;
        const holder = document.createElement("div");
        try {
          await load(box.closest("form"), box.dataset.fragmentStep, holder);
          if (mine === turn) document.querySelector(box.dataset.fragmentOnChange).replaceChildren(...holder.childNodes);
        } catch { /* the box keeps what it shows; Next works it out anyway */ }
      }, 250);
    };
    box.addEventListener("input", later);
    box.addEventListener("change", later);
    document.addEventListener("chatlake:zone", later);
  }
})();

// A form with a secret is sent in the background. When it cannot be saved, what is wrong is put into the open page, where the secret
// still is, so that nobody has to enter it again. The secret leaves this page only to be tried; no page that the server makes holds it.
(() => {
  const secrets = (form) => [...form.querySelectorAll("input[data-secret]")];
  // Spaces at the ends of a secret count, and few people mean them.
  const tellSpaces = (input) => {
    const note = input.closest(".field")?.querySelector("[data-spaces]");
    if (note) note.hidden = input.value.trim() === "" || input.value.trim() === input.value;
  };
  const say = (form, title, text) => {
    const box = form.querySelector("[data-again=problem]");
    const band = document.createElement("div"), words = document.createElement("div"), strong = document.createElement("b");
    band.className = "band is-bad";
    band.setAttribute("role", "alert");
    words.className = "band-text";
    strong.textContent = title;
    words.append(strong, text);
    band.append(words);
    box.replaceChildren(band);
    box.hidden = false;
    box.scrollIntoView({ block: "nearest" });
  };
  // Puts the parts of a page that came into this one. False: it is another page.
  const put = (form, page) => {
    const typed = new Map(secrets(form).map((input) => [input.name, input.value]));
    const parts = [...form.querySelectorAll("[data-again]")].map((part) => [part, page.querySelector(`form[data-keeps-secret] [data-again="${part.dataset.again}"]`)]);
    if (!parts.length || parts.some(([, fresh]) => !fresh)) return false;
    for (const [part, fresh] of parts) {
      part.hidden = fresh.hidden;
      part.replaceChildren(...fresh.childNodes);
    }
    for (const input of secrets(form)) {
      input.value = typed.get(input.name) ?? "";
      tellSpaces(input);
    }
    const first = form.querySelector("[aria-invalid]") ?? form.querySelector("[data-again] button.is-primary");
    first?.focus();
    // One that was rejected is corrected or replaced.
    if (first?.matches("input[data-secret]")) first.select();
    return true;
  };
  const send = async (form, button) => {
    const data = new FormData(form);
    if (button?.name) data.set(button.name, button.value);
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(data), headers: { "X-Chatlake-Fragment": "form" }, redirect: "manual" });
    const to = answer.headers.get("X-Chatlake-Go");
    if (to) { location.assign(to); return true; }
    if (answer.type === "opaqueredirect") {
      say(form, "You were signed out.", " Nothing was saved. Sign in again in another tab, then press the button again.");
      return false;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!put(form, page)) say(form, page.querySelector("h1")?.textContent.trim() ?? "Not saved.", ` ${page.querySelector("main p")?.textContent.trim() ?? ""}`);
    return false;
  };
  document.addEventListener("submit", async (event) => {
    const form = event.target, button = event.submitter;
    if (event.defaultPrevented || !form.matches("form[data-keeps-secret]") || !secrets(form).some((input) => input.value)) return;
    if (form.dataset.keepsSecret && button?.value !== form.dataset.keepsSecret) return;
    event.preventDefault();
    if (form.dataset.asking) return;
    form.dataset.asking = "yes";
    const shown = form.querySelector("[data-busy]");
    const was = shown?.textContent;
    if (shown) shown.textContent = shown.dataset.busy;
    let gone = false;
    try { gone = await send(form, button); } catch {
      say(form, "Chatlake did not answer.", " Check your network connection and try again. Your input is still here.");
    }
    if (gone) return;
    delete form.dataset.asking;
    if (shown?.isConnected) shown.textContent = was;
    // What was typed is still not saved.
    form.dispatchEvent(new Event("input", { bubbles: true }));
  });
  addEventListener("pageshow", () => document.querySelectorAll("form[data-asking]").forEach((form) => delete form.dataset.asking));
  document.addEventListener("input", (event) => {
    if (event.target.matches?.("input[data-secret]")) tellSpaces(event.target);
  });
})();

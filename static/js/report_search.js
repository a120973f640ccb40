// Lays a list with search over the native report menu: titles with one sentence each. The native one stays the form's field.
(() => {
  const mark = (text, words) => {
    const box = document.createElement("span");
    const at = words ? text.toLowerCase().indexOf(words) : -1;
    if (at < 0) { box.textContent = text; return box; }
    const hit = document.createElement("mark");
    hit.textContent = text.slice(at, at + words.length);
    box.append(text.slice(0, at), hit, text.slice(at + words.length));
    return box;
  };
  for (const select of document.querySelectorAll("select[data-report]")) {
    const native = select.parentElement;
    const box = document.createElement("span");
    const input = document.createElement("input");
    const list = document.createElement("div");
    const chosen = () => select.selectedOptions[0]?.textContent ?? "";
    const label = document.querySelector(`label[for="${select.id}"]`);
    box.className = "picker select";
    input.className = "control";
    input.id = `${select.id}-search`;
    input.value = chosen();
    for (const [name, value] of Object.entries({ role: "combobox", autocomplete: "off", spellcheck: "false", "aria-expanded": "false", "aria-controls": `${select.id}-list`, "aria-autocomplete": "list" })) input.setAttribute(name, value);
    if (select.getAttribute("aria-describedby")) input.setAttribute("aria-describedby", select.getAttribute("aria-describedby"));
    if (select.getAttribute("aria-invalid")) input.setAttribute("aria-invalid", "true");
    label?.setAttribute("for", input.id);
    list.className = "picker-list";
    list.id = `${select.id}-list`;
    list.setAttribute("role", "listbox");
    list.hidden = true;
    box.append(input, native.querySelector(".icon").cloneNode(true), list);
    native.hidden = true;
    native.after(box);
    let here = 0;
    const items = () => [...list.querySelectorAll("[role=option]")];
    const point = (to) => {
      const all = items();
      here = Math.max(0, Math.min(to, all.length - 1));
      all.forEach((item, i) => { item.classList.toggle("is-here", i === here); item.setAttribute("aria-selected", String(i === here)); });
      if (all[here]) { input.setAttribute("aria-activedescendant", all[here].id); all[here].scrollIntoView({ block: "nearest" }); }
    };
    const draw = (words) => {
      list.replaceChildren();
      const all = [...select.options].map((option, i) => ({ option, i, about: option.dataset.about ?? "" }));
      const found = words ? all.map((one) => ({ ...one, rank: rankOf(one.option.textContent, one.about, words) })).filter((one) => one.rank < Infinity).sort((a, b) => a.rank - b.rank || a.i - b.i) : all;
      found.forEach(({ option, i, about }) => {
        const item = document.createElement("div");
        const tick = document.createElement("span");
        const small = document.createElement("small");
        item.className = "picker-item";
        item.id = `${select.id}-${i}`;
        item.setAttribute("role", "option");
        tick.textContent = option.selected ? "\u2713" : "";
        small.append(mark(about, words));
        item.append(tick, mark(option.textContent, words), small);
        item.addEventListener("pointerdown", (event) => { event.preventDefault(); pick(option); });
        list.append(item);
      });
      const foot = document.createElement("div");
      foot.className = "picker-foot";
      foot.textContent = `${items().length} of ${select.options.length} reports`;
      list.append(foot);
    };
    const show = (words) => { draw(words); list.hidden = false; input.setAttribute("aria-expanded", "true"); point(words ? 0 : select.selectedIndex); };
    const hide = () => { list.hidden = true; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); input.value = chosen(); };
    const pick = (option) => { option.selected = true; hide(); select.dispatchEvent(new Event("change", { bubbles: true })); };
    input.addEventListener("focus", () => input.select());
    input.addEventListener("click", () => { if (list.hidden) { input.select(); show(""); } });
    input.addEventListener("input", (event) => { event.stopPropagation(); show(input.value.trim().toLowerCase()); });
    input.addEventListener("blur", hide);
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (list.hidden) show(""); else point(here + (event.key === "ArrowDown" ? 1 : -1));
      } else if (event.key === "Enter" && !list.hidden) {
        event.preventDefault();
        const item = items()[here];
        if (item) pick(select.options[Number(item.id.split("-").pop())]);
      } else if (event.key === "Escape" && !list.hidden) { event.stopPropagation(); hide(); }
    });
  }
})();

// Shows only the fields that the chosen report takes, and its sentence below the menu.
(() => {
  for (const select of document.querySelectorAll("select[data-report]")) {
    const form = select.form;
    const show = () => {
      const option = select.selectedOptions[0];
      const takes = (option?.dataset.menus ?? "").split(" ");
      const about = document.getElementById("report-help");
      if (about) about.textContent = option?.dataset.about ?? "";
      for (const field of form.querySelectorAll("[data-menu-field]")) {
        field.hidden = !field.dataset.menuField.split(" ").some((name) => takes.includes(name));
      }
    };
    select.addEventListener("change", show);
    show();
  }
})();

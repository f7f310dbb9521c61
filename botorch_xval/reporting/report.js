"use strict";
(() => {
  const show = (id) => {
    const target = id && document.getElementById(id);
    if (!target) return null;
    for (let at = target.parentElement; at; at = at.parentElement)
      if (at.tagName === "DETAILS") at.open = true;
    return target;
  };

  // Headings of tables become buttons that sort.
  const keyOf = (row, column) => row.cells[column]?.dataset.key ?? "";
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
  };
  for (const table of document.querySelectorAll("table.sorted")) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    if (body.rows.length < 2) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const known = (row) => keyOf(row, column) !== "";
        const rows = [...body.rows].sort((r, s) => known(r) && known(s)
          ? sign * compare(keyOf(r, column), keyOf(s, column))
          : known(s) - known(r));
        body.append(...rows);
      });
    });
  }

  // A dot leads to its row, a row to its dots.
  const dots = new Map();
  for (const dot of document.querySelectorAll(".dot")) {
    const row = dot.dataset.row;
    if (!dots.has(row)) dots.set(row, []);
    dots.get(row).push(dot);
    dot.addEventListener("click", () => {
      const target = show(row);
      if (!target) return;
      for (const old of document.querySelectorAll("tr.on")) old.classList.remove("on");
      target.classList.add("on");
      target.scrollIntoView({ block: "center" });
    });
  }
  for (const [row, own] of dots) {
    const target = document.getElementById(row);
    for (const [event, on] of [["pointerenter", true], ["pointerleave", false]])
      target?.addEventListener(event, () => {
        for (const dot of own) dot.classList.toggle("on", on);
      });
  }

  // All parts at once, such as for printing.
  const all = document.getElementById("unfold");
  all.addEventListener("click", () => {
    const open = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", open);
    for (const part of document.querySelectorAll("details")) part.open = open;
  });
  all.hidden = false;

  // The part that is being read.
  const links = new Map([...document.querySelectorAll("nav a")].map(
    (link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const id of links.keys()) watch.observe(document.getElementById(id));
  addEventListener("hashchange", () => show(location.hash.slice(1)));
  show(location.hash.slice(1));
})();

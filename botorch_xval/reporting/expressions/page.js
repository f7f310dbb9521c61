"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const select = document.getElementById("model");
  const slider = document.getElementById("iteration");
  const strips = [...document.querySelectorAll("svg[data-v]")];
  const texts = [...document.querySelectorAll("b[data-v]")];
  const ranges = new Map([...document.querySelectorAll("small[data-v]")].map(
    (small) => [small.dataset.v, small]));
  const dots = new Map();
  let pinned = null, lit = null;

  for (const circle of document.querySelectorAll("svg[data-v] circle")) {
    const m = +circle.dataset.m;
    if (!dots.has(m)) dots.set(m, []);
    if (circle.closest("svg").hasAttribute("tabindex")) dots.get(m).push(circle);
    circle.dataset.r = circle.getAttribute("r");
  }

  const format = (x) => {
    if (x === null) return "nan";
    const r = Number(x.toPrecision(3));
    if (r === 0 || (Math.abs(r) >= 1e-4 && Math.abs(r) < 1e6)) return String(r);
    return r.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  };
  const place = (x, [low, high, logarithmic]) => {
    const scale = logarithmic ? Math.log : (y) => y;
    const part = (scale(x) - scale(low)) / (scale(high) - scale(low));
    return (data.margin + (data.width - 2 * data.margin) * part).toFixed(1);
  };
  const numbersOf = (v) => {
    const frames = data.values[v].frames;
    const t = slider ? +slider.value : frames.length - 1;
    return frames[Math.min(t, frames.length - 1)];
  };
  const summary = (numbers) => {
    const sorted = numbers.filter((x) => x !== null).sort((a, b) => a - b);
    if (sorted.length < numbers.length) return [null, null, null];
    const half = sorted.length >> 1;
    const median = sorted.length % 2
      ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    return [sorted[0], median, sorted[sorted.length - 1]];
  };

  const write = () => {
    for (const b of texts) {
      const numbers = numbersOf(+b.dataset.v);
      const [low, median, high] = summary(numbers);
      const follows = lit !== null && numbers.length > 1;
      b.classList.toggle("follows", follows);
      b.textContent = format(follows ? numbers[lit] : median);
      const range = ranges.get(b.dataset.v), ends = [format(low), format(high)];
      if (range) range.textContent = ends.every((end) => end === format(median))
        ? "" : `[${ends.join(", ")}]`;
    }
  };
  const light = (m) => {
    if (m === lit) return;
    for (const circle of dots.get(lit) ?? []) {
      circle.classList.remove("on");
      circle.setAttribute("r", circle.dataset.r);
    }
    lit = m;
    for (const circle of dots.get(lit) ?? []) {
      circle.classList.add("on");
      circle.setAttribute("r", 4);
      circle.parentNode.append(circle);
    }
    document.body.classList.toggle("lit", lit !== null);
    if (select) select.value = lit === null ? "" : String(lit);
    write();
  };
  const move = () => {
    for (const svg of strips) {
      const { axis } = data.values[+svg.dataset.v];
      const numbers = numbersOf(+svg.dataset.v);
      for (const circle of svg.querySelectorAll("circle")) {
        const x = numbers[+circle.dataset.m];
        circle.style.visibility = x === null ? "hidden" : "";
        if (x === null) continue;
        circle.setAttribute("cx", place(x, data.axes[axis]));
        const name = numbers.length > 1 ? data.names[+circle.dataset.m] + ": " : "";
        circle.firstElementChild.textContent = name + format(x);
      }
      const bar = svg.querySelector(".median"), median = summary(numbers)[1];
      if (bar && median !== null)
        bar.setAttribute("d", `M${place(median, data.axes[axis])} 1v18`);
    }
    document.getElementById("at").textContent = slider.value;
    write();
  };

  const nearest = (svg, event) => {
    const box = svg.getBoundingClientRect(), scale = data.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = null, least = Infinity;
    for (const circle of svg.querySelectorAll("circle")) {
      const away = Math.hypot(circle.getAttribute("cx") - x,
        0.5 * (circle.getAttribute("cy") - y));
      if (away < least) [best, least] = [+circle.dataset.m, away];
    }
    return best;
  };
  for (const svg of strips.filter((s) => s.hasAttribute("tabindex"))) {
    svg.addEventListener("pointermove", (event) => light(nearest(svg, event)));
    svg.addEventListener("pointerleave", () => light(pinned));
    svg.addEventListener("click", (event) => {
      const m = nearest(svg, event);
      pinned = pinned === m ? null : m;
      light(pinned);
    });
    svg.addEventListener("blur", () => light(pinned));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const row = [...svg.querySelectorAll("circle")].sort(
        (a, b) => a.getAttribute("cx") - b.getAttribute("cx"));
      const at = row.findIndex((circle) => +circle.dataset.m === lit);
      const next = at < 0 ? (row.length - 1) >> 1 : at + step;
      light(+row[Math.max(0, Math.min(row.length - 1, next))].dataset.m);
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { pinned = null; light(null); }
  });
  if (select) select.addEventListener("change", () => {
    pinned = select.value === "" ? null : +select.value;
    light(pinned);
  });
  if (slider) slider.addEventListener("input", move);
  for (const part of document.querySelectorAll(".script")) part.hidden = false;
})();

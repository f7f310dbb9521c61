"""Style and script of the page that `page.py` writes.

Colors are those of Okabe & Ito (2008); what is lit is also larger and ringed.
"""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root {
  --paper: #fdfdfb; --ink: #1d1f21; --soft: #63676b; --line: #c9cbc8;
  --guide: #e6e6e1; --mark: #0072b2; --lit: #d55e00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --ink: #e4e5e2; --soft: #9aa0a4; --line: #4b5156;
    --guide: #2a2f33; --mark: #56b4e9; --lit: #e69f00;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem clamp(1rem, 3vw, 3rem) 4rem; max-width: 104rem;
  background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.5 Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif;
}
header { max-width: 44rem; }
h1 { margin: 0 0 .5rem; font-size: 1.9rem; font-weight: 600; line-height: 1.2; }
h2 { margin: 0 0 .25rem; font-size: 1.25rem; font-weight: 600; }
h3 { margin: 1.25rem 0 .5rem; font-size: 1rem; font-weight: 400; font-style: italic; }
h2 + h3 { margin-top: 0; }
header p, h3, .note, footer small, small { color: var(--soft); }
header p { margin: 0; }
main {
  display: grid; gap: 2.5rem 2.75rem; margin-top: 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 33rem), 1fr));
}
article { min-width: 0; max-width: 60rem; padding-top: 1rem; }
article { border-top: 1px solid var(--ink); }
ul { list-style: none; margin: 0; padding: 0; }
article > ul > li { margin-bottom: .5rem; }
li ul { margin-left: .2rem; padding-left: .7rem; border-left: 1px solid var(--guide); }
.row {
  display: grid; grid-template-columns: minmax(0, 1fr) auto; column-gap: 1rem;
  align-items: center; min-height: 1.45rem;
}
.row:hover { background: color-mix(in srgb, var(--guide) 45%, transparent); }
.code, .note {
  font: .75rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas,
    "DejaVu Sans Mono", monospace;
}
.note { padding-top: .35rem; }
b { font-weight: 600; font-variant-numeric: tabular-nums; }
small { font-size: .85em; white-space: nowrap; }
.strips { display: grid; align-items: center; column-gap: .5rem; }
.many { grid-template-columns: auto 6.1rem; }
.many small { font-size: .6875rem; font-variant-numeric: tabular-nums; }
svg { display: block; width: 8.5rem; height: auto; overflow: visible; }
svg[tabindex] { cursor: crosshair; touch-action: manipulation; }
svg:focus-visible, select:focus-visible, input:focus-visible {
  outline: 2px solid var(--lit); outline-offset: 2px;
}
.axis { fill: none; stroke: var(--line); }
circle { fill: var(--mark); fill-opacity: .5; }
svg:not([tabindex]) circle { fill-opacity: 1; }
.median { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.lit svg[tabindex] circle:not(.on) { fill-opacity: .18; }
.lit svg[tabindex] .median { stroke-opacity: .3; }
circle.on { fill: var(--lit); fill-opacity: 1; stroke: var(--ink); stroke-width: 1.2; }
b.follows { color: var(--lit); text-decoration: underline; }
form {
  position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .4rem 2rem;
  margin-top: 1.25rem; padding: .6rem 0; background: var(--paper);
  border-bottom: 1px solid var(--guide);
}
form[hidden] { display: none; }
label { display: flex; align-items: center; gap: .6rem; min-width: 0; }
select, input { font: inherit; color: inherit; min-width: 0; }
select {
  max-width: 100%; padding: .15rem .4rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 3px;
}
input { width: 16rem; accent-color: var(--mark); }
output { min-width: 4ch; font-variant-numeric: tabular-nums; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--guide); }
footer h2 { font-size: 1rem; }
.scales { display: flex; flex-wrap: wrap; gap: .75rem 2.5rem; }
.scales li > span { display: block; }
text { fill: var(--soft); font: 11px ui-monospace, Consolas, monospace; }
text { text-anchor: middle; }
.scales svg { width: 11.25rem; }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; }
  h1 { font-size: 1.5rem; }
  .row { display: block; padding: .2rem 0; }
  .strips { grid-template-columns: 10rem auto; justify-content: start; }
  .strips svg { width: 10rem; }
  li ul { margin-left: 0; padding-left: .5rem; }
  input { width: 9rem; }
}
@media print { form { display: none; } article { break-inside: auto; } }
"""

SCRIPT = """
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

  for (const circle of document.querySelectorAll("circle")) {
    const m = +circle.dataset.m;
    if (!dots.has(m)) dots.set(m, []);
    if (circle.closest("svg").hasAttribute("tabindex")) dots.get(m).push(circle);
    circle.dataset.r = circle.getAttribute("r");
  }

  const format = (x) => {
    if (x === null) return "nan";
    const r = Number(x.toPrecision(3));
    if (r === 0 || (Math.abs(r) >= 1e-4 && Math.abs(r) < 1e6)) return String(r);
    return r.toExponential(2).replace(/\\.?0+e/, "e").replace("e+", "e");
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
"""

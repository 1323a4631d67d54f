document.documentElement.classList.add("js");

// Legend: a codec's button hides its curves in both plots.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    for (const curve of document.querySelectorAll(`.curve.${button.dataset.mark}`)) curve.classList.toggle("off", !on);
  });
}

// Values of the nearest point under the pointer.
const plots = document.querySelector(".plots");
const hint = document.createElement("div");
hint.className = "hint";
hint.hidden = true;
if (plots) plots.append(hint);
for (const plot of document.querySelectorAll(".plot")) {
  plot.addEventListener("pointerleave", () => { hint.hidden = true; });
  plot.addEventListener("pointermove", (event) => {
    let best = null, nearest = 18;
    for (const dot of plot.querySelectorAll(".curve:not(.off) circle")) {
      const box = dot.getBoundingClientRect();
      const x = box.x + box.width / 2, y = box.y + box.height / 2;
      const distance = Math.hypot(event.clientX - x, event.clientY - y);
      if (distance < nearest) [nearest, best] = [distance, { dot, x, y }];
    }
    hint.hidden = !best;
    if (!best) return;
    hint.textContent = best.dot.dataset.words;
    const area = plots.getBoundingClientRect(), half = hint.offsetWidth / 2;
    hint.style.left = `${Math.min(Math.max(best.x - area.x, half), Math.max(half, area.width - half))}px`;
    hint.style.top = `${best.y - area.y}px`;
  });
}

// One image at a time.
const picks = [...document.querySelectorAll(".pick button")];
const shown = [...document.querySelectorAll(".shown")];
function pick(number) {
  picks.forEach((button, i) => button.setAttribute("aria-pressed", i === number));
  shown.forEach((figure, i) => figure.classList.toggle("on", i === number));
}
picks.forEach((button, i) => button.addEventListener("click", () => pick(i)));
if (shown.length) pick(0);

// Left picture: the original, or a JPEG of the same size. The zoom button shows pixels 1:1 on narrow pages.
for (const figure of shown) {
  const under = figure.querySelector(".under"), tag = figure.querySelector(".tag.l");
  const sources = { original: under.src, jpeg: figure.querySelector(".jpeg").src };
  for (const button of figure.querySelectorAll("[data-left]")) {
    button.addEventListener("click", () => {
      under.src = sources[button.dataset.left];
      tag.textContent = button.dataset.tag;
      for (const other of figure.querySelectorAll("[data-left]")) other.setAttribute("aria-pressed", other === button);
    });
  }
  const zoom = figure.querySelector("[data-zoom]");
  zoom.addEventListener("click", () => {
    const on = figure.querySelector(".zoom").classList.toggle("full");
    zoom.setAttribute("aria-pressed", on);
  });
}

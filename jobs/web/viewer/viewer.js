// Replace an image that cannot be shown by its message; of two pictures the other one stays, at its own size.
for (const image of document.querySelectorAll("img")) {
  const missing = () => {
    const words = document.createElement("span");
    words.className = "missing";
    words.textContent = image.dataset.missing || "not shown";
    const box = image.closest(".compare");
    const other = box && [...box.querySelectorAll("img")].find((one) => one !== image);
    if (!other) return image.replaceWith(words);
    other.className = "";
    box.replaceWith(other);
    other.closest(".stage").append(words);
  };
  if (image.complete && !image.naturalWidth && image.loading !== "lazy") missing();
  else image.addEventListener("error", missing);
}

// Never show an image larger than its pixels, unless it is zoomed.
for (const stage of document.querySelectorAll("[data-natural]")) stage.style.setProperty("--natural", `${stage.dataset.natural}px`);

// Zoom: whole pixels of the screen per pixel of the image, from a file without loss. The middle stays in the middle.
const zooms = document.querySelector(".zooms"), zoom = document.querySelector(".zoom");
let times = 0;
function scale() {
  const x = (zoom.scrollLeft + zoom.clientWidth / 2) / zoom.scrollWidth, y = (zoom.scrollTop + zoom.clientHeight / 2) / zoom.scrollHeight;
  const pixels = Math.max(0, ...[...zoom.querySelectorAll("img")].map((one) => one.naturalWidth));
  zoom.classList.toggle("full", times > 0);
  zoom.style.setProperty("--zoomed", `${pixels * times / devicePixelRatio}px`);
  zoom.scrollTo(x * zoom.scrollWidth - zoom.clientWidth / 2, y * zoom.scrollHeight - zoom.clientHeight / 2);
}
function show(wanted) {
  times = wanted;
  for (const button of zooms.querySelectorAll("button")) button.setAttribute("aria-pressed", Number(button.dataset.zoom) === times);
  for (const one of times ? zoom.querySelectorAll("img[data-whole]") : []) {
    one.addEventListener("load", scale, { once: true });
    one.src = one.dataset.whole;
    one.removeAttribute("data-whole");
  }
  scale();
}
if (zooms && zoom) {
  zooms.hidden = false;
  for (const button of zooms.querySelectorAll("button")) button.addEventListener("click", () => show(Number(button.dataset.zoom)));
}

// Arrow keys lead to the image before and after, except where they move something else.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || times || event.target.closest("input")) return;
  const link = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  document.querySelector(`.around a[rel="${link}"]`)?.click();
});

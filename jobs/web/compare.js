// The slider between two pictures: a range input, so that keys, mouse and touch need nothing more.
for (const box of document.querySelectorAll(".compare")) {
  const input = box.querySelector("input");
  if (input) input.addEventListener("input", () => box.style.setProperty("--at", `${input.value / 10}%`));
}

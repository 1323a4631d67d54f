// The slider between two pictures is a range input, which handles keys, mouse and touch.
for (const box of document.querySelectorAll(".compare")) {
  const input = box.querySelector("input");
  if (input) input.addEventListener("input", () => box.style.setProperty("--at", `${input.value / 10}%`));
}

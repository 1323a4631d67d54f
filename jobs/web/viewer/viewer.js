// Replace an image that cannot be shown by its message.
for (const image of document.querySelectorAll("img")) {
  const missing = () => {
    const words = document.createElement("span");
    words.textContent = image.dataset.missing || "not shown";
    image.replaceWith(words);
  };
  if (image.complete && !image.naturalWidth && image.loading !== "lazy") missing();
  else image.addEventListener("error", missing);
}

// Never show an image larger than its pixels.
for (const stage of document.querySelectorAll("[data-natural]")) stage.style.setProperty("--natural", `${stage.dataset.natural}px`);

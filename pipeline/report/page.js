"use strict";
// click on a heading sorts its table: numbers by data-value, what has none last
for (const heading of document.querySelectorAll(".sortable thead th")) {
  heading.tabIndex = 0;
  const sort = () => {
    const table = heading.closest("table"), body = table.tBodies[0], column = heading.cellIndex;
    const descending = heading.getAttribute("aria-sort") !== "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.value;
    body.append(...[...body.rows].sort((one, other) => {
      const a = key(one), b = key(other);
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(a) || isNaN(b) ? b.localeCompare(a) : a - b;
      return descending ? -order : order;
    }));
  };
  heading.addEventListener("click", sort);
  heading.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
// the slider lets the photo shine through the masks
const slider = document.querySelector("#opacity");
if (slider) slider.addEventListener("input", () => document.body.style.setProperty("--opacity", slider.value / 100));
// click on a picture shows it large
const dialog = document.querySelector("dialog");
for (const tile of document.querySelectorAll("button.tile")) tile.addEventListener("click", () => {
  const large = tile.cloneNode(true);
  large.style.setProperty("--photo", getComputedStyle(tile).getPropertyValue("--photo"));
  large.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(large);
  dialog.showModal();
});

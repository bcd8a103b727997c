// The menu folds on a narrow screen, at first and after each choice.
const menu = document.querySelector("nav details"), narrow = matchMedia("(max-width: 47.99rem)");
const fold = () => { menu.open = !narrow.matches; };
fold();
narrow.addEventListener("change", fold);
menu.querySelectorAll("a").forEach((link) => link.addEventListener("click", fold));
// A click on a heading sorts: numbers from high to low first, words from A to Z; cells without a value stay last.
document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
  const value = (row) => row.cells[head.cellIndex].dataset.value;
  const numeric = [...body.rows].map(value).filter((text) => text !== "").every((text) => !Number.isNaN(Number(text)));
  const before = head.getAttribute("aria-sort");
  const up = before ? before === "descending" : !numeric;
  const order = (a, b) => numeric ? Number(a) - Number(b) : a.localeCompare(b);
  table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  [...body.rows].map((row, place) => [value(row), place, row]).sort(([a, i], [b, j]) =>
    a === "" || b === "" ? (a === "") - (b === "") || i - j : (up ? order(a, b) : order(b, a)) || i - j
  ).forEach(([, , row]) => body.append(row));
}));

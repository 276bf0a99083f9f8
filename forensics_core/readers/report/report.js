"use strict";
// Shows only the rows that hold what is searched for; without a word, all of them.
const field = document.getElementById("search");
const count = document.getElementById("count");
const rows = Array.from(document.querySelectorAll("tbody tr"), (row) => [row, null]);
let waiting = 0;
function search() {
  const wanted = field.value.trim().toLowerCase();
  let shown = 0;
  for (const entry of rows) {
    entry[1] ??= entry[0].textContent.toLowerCase();
    const found = !wanted || entry[1].includes(wanted);
    entry[0].hidden = !found;
    if (found) shown += 1;
  }
  count.textContent = wanted ? `${shown} rows` : "";
}
field.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, 150);
});

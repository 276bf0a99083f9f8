// One search over findings, paths, processes and lines of logs.
const FIELD = document.getElementById("search");
const RESULTS = document.getElementById("results");
const FINDINGS = Array.from(document.querySelectorAll(".finding"), (one) => [one, one.textContent.toLowerCase()]);

function found(words) {
  const has = (text) => text.toLowerCase().includes(words);
  const many = DATA.containers.length > 1;
  const groups = [["Findings", FINDINGS.filter((one) => one[1].includes(words)).map(([one]) => ({
    text: one.querySelector("summary").textContent,
    go: () => { one.closest(".rule").open = true; one.firstChild.open = true; goTo(one.querySelector("summary")); },
  }))]];
  const paths = [];
  const processes = [];
  DATA.containers.forEach((container, place) => {
    const where = many ? `${container.name}: ` : "";
    for (const row of container.changes) {
      if (has(row.path) || row.sha256 === words || (row.target && has(row.target))) {
        paths.push({ text: `${where}${WORDS[row.kind]} ${row.path}`, go: () => TREES[place].reveal(row.path) });
      }
    }
    for (const row of container.processes) {
      if (has(row[3]) || has(row[4]) || String(row[0]) === words || row[7].some(has)) {
        processes.push({ text: `${where}${row[0]} ${row[3]}`, go: () => PROCESSES[place].reveal(row[0]) });
      }
    }
  });
  const lines = DATA.lines.filter((one) => has(one[2])).map(([time, name, text]) => ({
    text: `${stamp(time)} ${many ? `${name}: ` : ""}${text}`,
    go: () => { theTimeline().look(time - 5000, time + 5000); goTo(theTimeline().graph); },
  }));
  return [...groups, ["Changes", paths], ["Processes", processes], ["Log lines", lines]];
}

function search() {
  const words = FIELD.value.trim().toLowerCase();
  RESULTS.replaceChildren();
  RESULTS.hidden = !words;
  if (!words) return;
  let total = 0;
  for (const [name, hits] of found(words)) {
    if (!hits.length) continue;
    total += hits.length;
    const list = make("ul");
    RESULTS.append(make("h2", {}, `${name} (${number(hits.length)})`), list);
    new Listing(list, hits, (hit) => make("li", {}, make("button", { type: "button", class: "link", click: hit.go }, hit.text)));
  }
  if (!total) RESULTS.append(make("p", {}, "Nothing that this page shows has it."));
  document.getElementById("count").textContent = `${number(total)} found`;
}

let waiting = 0;
FIELD.addEventListener("input", () => {
  document.getElementById("count").textContent = "";
  clearTimeout(waiting);
  waiting = setTimeout(search, 150);
});

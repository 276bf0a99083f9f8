// The tree of processes: in the order of a tree already, each with its connections beneath it.
class ProcessList {
  constructor(container, into) {
    this.rows = container.processes;
    this.list = make("ul");
    into.append(this.list);
    this.listing = new Listing(this.list, this.rows, (row) => this.item(row));
  }

  item(row) {
    const [pid, parent, depth, command, program, user, started, connections, sha256, found, hidden] = row;
    const summary = make("summary", {}, make("span", { class: "dim" }, `${pid} `), make("span", { class: "name" }, command));
    if (hidden.length) summary.append(" ", make("span", { class: "badge high" }, "hidden"));
    const details = make("details", {}, summary, facts([
      ["Program", program], ["SHA-256", sha256], ["Parent", parent], ["User", user],
      ["Started", stamp(started)], ["Found by", found.join(", ")], ["Hidden by", hidden.join(", ")],
    ]));
    const one = make("li", {}, details);
    one.style.marginLeft = `${Math.min(depth, 20) * 1.4}rem`;
    if (connections.length) {
      one.append(make("ul", { class: "connections" }, ...connections.map((line) => make("li", { class: "name" }, line))));
    }
    return one;
  }

  reveal(pid) {
    const place = this.rows.findIndex((row) => row[0] === pid);
    if (place < 0) return false;
    this.listing.showTo(Math.max(place + 1, this.listing.shown));
    const details = this.list.children[place].querySelector("details");
    details.open = true;
    goTo(details.querySelector("summary"));
    return true;
  }
}

const PROCESSES = DATA.containers.map(
  (container, place) => new ProcessList(container, document.getElementById(`processes-${place}`)),
);

// From a finding to what it is about.
document.getElementById("findings").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-container]");
  if (!button) return;
  const place = Number(button.dataset.container);
  const shown = button.dataset.path === undefined
    ? PROCESSES[place]?.reveal(Number(button.dataset.pid))
    : TREES[place]?.reveal(button.dataset.path);
  if (!shown) {
    button.disabled = true;
    button.textContent = "It is not among what this page shows";
  }
});

// On paper everything that is folded in the findings is there.
window.addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("#findings details")) one.open = true;
});

// The tree of changes: a folder's rows are made when it is opened, so that very many cost little.
const WORDS = { A: "added", C: "changed", D: "deleted" };

// Rows come as lists, each path without what it shares with the one before.
function unpackChanges(container) {
  let path = "";
  container.changes = container.changes.map((row) => {
    const [shared, kind, rest, type, mode, bytes, mtime, ctime, owner, notes, sha256, target] = row;
    path = path.slice(0, shared) + rest;
    return { kind, path, type, mode, bytes, mtime, ctime, owner, notes, sha256, target };
  });
}

class Folder {
  constructor(name) {
    this.name = name;
    this.children = new Map();
    this.row = null;
    this.counts = { A: 0, C: 0, D: 0 };
    this.view = null;
  }
}

class ChangeTree {
  constructor(container, into) {
    this.root = new Folder("");
    this.into = into;
    this.shown = { A: true, C: true, D: true };
    for (const row of container.changes) this.add(row);
    this.list = make("ul");
    this.controls();
    into.append(this.list);
    this.draw();
  }

  add(row) {
    let folder = this.root;
    folder.counts[row.kind] += 1;
    for (const name of row.path.split("/")) {
      if (!name) continue;
      let next = folder.children.get(name);
      if (!next) folder.children.set(name, (next = new Folder(name)));
      folder = next;
      folder.counts[row.kind] += 1;
    }
    folder.row = row;
  }

  controls() {
    const box = make("fieldset", {}, make("legend", {}, "Show"));
    for (const kind of "ACD") {
      const change = (event) => { this.shown[kind] = event.target.checked; this.draw(); };
      const input = make("input", { type: "checkbox", checked: "", change });
      box.append(make("label", {}, input, ` ${WORDS[kind]} (${number(this.root.counts[kind])})`));
    }
    this.into.append(make("div", { class: "controls" }, box));
  }

  draw() {
    this.list.nextElementSibling?.remove();
    this.list.replaceChildren();
    this.root.view = { listing: this.listing(this.list, this.root), open: () => {} };
  }

  listing(list, folder) {
    const visible = [...folder.children.values()].filter((one) => this.count(one) > 0);
    visible.sort((a, b) => (b.children.size > 0) - (a.children.size > 0) || (a.name < b.name ? -1 : 1));
    return new Listing(list, visible, (one) => this.item(one));
  }

  count(folder) {
    let total = 0;
    for (const kind of "ACD") if (this.shown[kind]) total += folder.counts[kind];
    return total;
  }

  // Folders with nothing in them but one other are one row: usr/lib/python3/.
  item(folder) {
    const chain = [folder];
    let last = folder;
    while (!last.row && last.children.size === 1) {
      last = last.children.values().next().value;
      chain.push(last);
    }
    const summary = make("summary");
    const details = make("details", {}, summary);
    if (last.row) summary.append(make("span", { class: `kind ${last.row.kind}`, title: WORDS[last.row.kind] }, last.row.kind), " ");
    const names = chain.map((one) => one.name).join("/");
    summary.append(make("span", { class: "name" }, names + (last.children.size ? "/" : "")), " ");
    summary.append(make("span", { class: "dim" }, this.beside(last)));
    const view = { listing: null, summary };
    view.open = () => {
      if (!view.filled) {
        view.filled = true;
        if (last.row) details.append(last.children.size ? this.brief(last.row) : this.row(last.row));
        if (last.children.size) {
          const list = make("ul");
          details.append(list);
          view.listing = this.listing(list, last);
        }
      }
      details.open = true;
    };
    details.addEventListener("toggle", () => { if (details.open) view.open(); });
    for (const one of chain) one.view = view;
    return make("li", {}, details);
  }

  beside(folder) {
    if (!folder.children.size) {
      const row = folder.row;
      const words = [row.type === "file" ? "" : row.type, row.mode, row.type === "file" ? size(row.bytes) : "", row.notes];
      return words.filter(Boolean).join(", ");
    }
    return [..."ACD"].filter((kind) => folder.counts[kind])
      .map((kind) => `${number(folder.counts[kind])} ${WORDS[kind]}`).join(", ");
  }

  // Of a folder one line, so that what is in it comes at once.
  brief(row) {
    const words = [row.type, row.mode, row.owner, row.mtime == null ? "" : `modified ${stamp(row.mtime)}`, row.notes];
    return make("p", { class: "dim brief" }, words.filter(Boolean).join(", "));
  }

  row(row) {
    return facts([
      ["Path", row.path], ["Change", WORDS[row.kind]], ["Type", row.type], ["Points to", row.target],
      ["Mode", row.mode], ["Owner", row.owner], ["Size", row.type === "file" ? `${number(row.bytes)} bytes` : ""],
      ["Content modified", stamp(row.mtime)], ["Metadata changed", stamp(row.ctime)],
      ["Notes", row.notes], ["SHA-256", row.sha256],
    ]);
  }

  // Opens all above a path and goes there; false where the page does not have it.
  reveal(path) {
    let folder = this.root;
    for (const name of path.split("/")) {
      if (!name) continue;
      const next = folder.children.get(name);
      if (!next) return false;
      const listing = folder.view?.listing;
      if (listing) {
        const place = listing.items.indexOf(next);
        if (place < 0) return this.everything() && this.reveal(path);
        listing.showTo(Math.max(place + 1, listing.shown));
      }
      next.view?.open();
      folder = next;
    }
    if (!folder.view?.summary) return false;
    goTo(folder.view.summary);
    return true;
  }

  // Whether some kind was not shown, which is now.
  everything() {
    if (Object.values(this.shown).every(Boolean)) return false;
    for (const input of this.into.querySelectorAll("input")) input.checked = true;
    this.shown = { A: true, C: true, D: true };
    this.draw();
    return true;
  }
}

const TREES = DATA.containers.map((container, place) => {
  unpackChanges(container);
  return new ChangeTree(container, document.getElementById(`changes-${place}`));
});

"use strict";
// What the page shows of the evidence is made here: text only ever becomes text, never markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const STEP = 200;
const CALENDAR = 8.64e15;

function make(tag, attributes, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") one.addEventListener(name, value);
    else if (value !== false && value !== undefined) one.setAttribute(name, value);
  }
  one.append(...children);
  return one;
}

// Milliseconds since 1970 as a date; a time that no calendar has, as its number of seconds.
function stamp(time) {
  if (time === null || time === undefined) return "";
  if (Math.abs(time) > CALENDAR) return `@${Math.trunc(time / 1000)}`;
  return new Date(time).toISOString().replace("T", " ");
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let power = 0;
  while (bytes >= 1024 && power < units.length - 1) { bytes /= 1024; power += 1; }
  return `${power ? bytes.toFixed(1) : bytes} ${units[power]}`;
}

const number = (value) => value.toLocaleString("en");

// A list that shows some of its items, and more of them when it is asked to.
class Listing {
  constructor(into, items, render) {
    this.into = into;
    this.items = items;
    this.render = render;
    this.shown = 0;
    this.more = make("button", { type: "button", click: () => this.next() });
    this.showTo(STEP);
  }

  next() {
    const first = this.shown;
    this.showTo(first + STEP);
    this.into.children[first]?.querySelector("summary, button")?.focus();
  }

  showTo(count) {
    count = Math.min(count, this.items.length);
    const made = [];
    for (; this.shown < count; this.shown += 1) made.push(this.render(this.items[this.shown]));
    this.into.append(...made);
    const rest = this.items.length - this.shown;
    if (rest > 0) {
      this.more.textContent = `Show ${number(Math.min(STEP, rest))} of ${number(rest)} more`;
      this.into.after(this.more);
    } else this.more.remove();
  }
}

function facts(pairs) {
  const list = make("dl", { class: "details" });
  for (const [name, value] of pairs) {
    if (value !== "" && value !== undefined && value !== null) {
      list.append(make("dt", {}, name), make("dd", {}, String(value)));
    }
  }
  return list;
}

function goTo(element) {
  element.scrollIntoView({ block: "center" });
  element.focus({ preventScroll: true });
}

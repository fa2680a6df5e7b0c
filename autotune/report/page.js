"use strict";
// Texts of a study only ever go into textContent or into Plotly, for which they are escaped when the page is written.

async function unpacked(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place += 1) bytes[place] = letters.charCodeAt(place); // .from takes 10 times as long
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

// The table: one page of rows is in the document at a time, so that its length costs nothing.

const PAGE = 50;

class Table {
  constructor({ columns, values, best }) {
    Object.assign(this, { columns, values, best });
    this.place = new Map(values[0].map((number, row) => [number, row]));
    this.filters = columns.map(() => "");
    this.sorted = { column: 0, sign: 1 };
    this.page = 0;
    this.table = document.getElementById("table");
    this.inputs = this.head();
    const turn = (pages) => () => { this.page += pages; this.draw(); };
    document.getElementById("previous").onclick = turn(-1);
    document.getElementById("next").onclick = turn(1);
    document.getElementById("clear").onclick = () => this.filterBy({});
    this.arrange();
  }

  head() {
    const row = this.table.tHead.insertRow();
    return this.columns.map((name, column) => {
      const cell = row.appendChild(element("th"));
      cell.appendChild(element("button", name)).onclick = () => this.sortBy(column);
      const input = cell.appendChild(element("input"));
      input.setAttribute("aria-label", `filter ${name}`);
      input.oninput = () => { this.filters[column] = input.value.trim(); this.arrange(); };
      return input;
    });
  }

  sortBy(column) {
    this.sorted = { column, sign: this.sorted.column === column ? -this.sorted.sign : 1 };
    this.arrange();
  }

  filterBy(texts) { // column name -> text
    this.filters = this.columns.map((name) => texts[name] ?? "");
    this.inputs.forEach((input, column) => { input.value = this.filters[column]; });
    this.arrange();
  }

  arrange() {
    const tests = this.filters.map(matcher);
    const rows = this.values[0].map((_, row) => row);
    this.rows = rows.filter((row) => tests.every((test, column) => test === null || test(this.values[column][row])));
    const { column, sign } = this.sorted;
    const values = this.values[column];
    this.rows.sort((one, other) => compare(values[one], values[other], sign) || one - other);
    [...this.table.tHead.rows[0].cells].forEach((cell, place) => {
      cell.ariaSort = place !== column ? "none" : sign > 0 ? "ascending" : "descending";
      cell.firstChild.textContent = this.columns[place] + (place !== column ? "" : sign > 0 ? " ▲" : " ▼");
    });
    this.page = 0;
    this.draw();
  }

  draw() {
    const pages = Math.max(1, Math.ceil(this.rows.length / PAGE));
    this.page = Math.min(Math.max(this.page, 0), pages - 1);
    const body = element("tbody");
    for (const row of this.rows.slice(this.page * PAGE, (this.page + 1) * PAGE)) {
      const line = body.insertRow();
      if (this.values[0][row] === this.best) line.className = "best";
      for (const values of this.values) {
        const cell = line.appendChild(element("td", shown(values[row])));
        if (cell.textContent.length > 24) cell.title = cell.textContent;
      }
    }
    this.table.tBodies[0].replaceWith(body);
    document.getElementById("shown").textContent =
      `${this.rows.length} of ${this.values[0].length} trials, page ${this.page + 1} of ${pages}`;
  }

  described(number) {
    const row = this.place.get(number);
    if (row === undefined) return "";
    const told = this.columns.map((name, column) => [name, this.values[column][row]]);
    const parts = told.filter(([name, value]) => value !== null && /^(state|params\.|metrics\.|host)/.test(name));
    return `trial ${number}: ` + parts.map(([name, value]) => `${name.replace(/^\w+\./, "")} ${shown(value)}`).join(", ");
  }
}

function shown(value) {
  if (value === null) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function compare(one, other, sign) { // what is missing comes last, whichever way round
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one === "number" && typeof other === "number") return sign * (one - other);
  return sign * shown(one).localeCompare(shown(other), undefined, { numeric: true });
}

function matcher(text) {
  if (text === "") return null;
  const [, operator, operand] = /^(<=|>=|<|>|=)?\s*(.*)$/.exec(text);
  const bound = operand === "" ? NaN : Number(operand);
  if (operator === undefined || (operator !== "=" && Number.isNaN(bound))) return (value) => shown(value).toLowerCase().includes(text.toLowerCase());
  if (operator === "=") return (value) => shown(value) === operand || (typeof value === "number" && value === bound);
  const holds = { "<": (x) => x < bound, "<=": (x) => x <= bound, ">": (x) => x > bound, ">=": (x) => x >= bound }[operator];
  return (value) => typeof value === "number" && holds(value);
}

// The figures: each is drawn when it comes near the window and given up when it is far from it again, since a browser
// has memory for only so many WebGL pictures. Its zoom stays in its layout.

const hasWebGL = document.createElement("canvas").getContext("webgl") !== null;

function show(graph, figure, table) {
  if (!hasWebGL) for (const trace of figure.data) if (trace.type === "scattergl") trace.type = "scatter"; // slow, but drawn
  Plotly.newPlot(graph, figure.data, figure.layout, { responsive: true, displaylogo: false });
  const line = graph.nextElementSibling;
  const numbers = (event) => event.points.map((point) => point.customdata).filter((number) => number !== undefined && number !== null);
  graph.on("plotly_hover", (event) => { line.textContent = numbers(event).map((number) => table.described(number)).join("; "); });
  graph.on("plotly_click", (event) => {
    if (numbers(event).length === 0) return;
    table.filterBy({ number: `=${numbers(event)[0]}` });
    document.getElementById("trials").scrollIntoView({ behavior: "smooth" });
  });
}

async function start() {
  const content = JSON.parse(await unpacked("content"));
  const table = new Table(content.table);
  document.body.dataset.ready = "table"; // Plotly takes a second to load
  await new Promise((resolve) => setTimeout(resolve, 0));
  document.head.appendChild(element("script", await unpacked("plotly")));
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const isDrawn = target.classList.contains("js-plotly-plot");
      if (isIntersecting && !isDrawn) show(target, content.figures[target.dataset.figure], table);
      if (!isIntersecting && isDrawn) { Plotly.purge(target); target.classList.remove("js-plotly-plot"); }
    }
  }, { rootMargin: "200px" });
  document.querySelectorAll("[data-figure]").forEach((graph) => watch.observe(graph));
  document.body.dataset.ready = "figures";
}

start().catch((error) => {
  const problem = document.getElementById("problem");
  problem.hidden = false;
  problem.textContent = `The figures cannot be drawn here: ${error}. A current Firefox, Chrome, Edge or Safari draws them.`;
});

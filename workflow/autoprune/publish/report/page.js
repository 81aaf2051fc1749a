// Tables that sort and filter, verdicts that open, and the dialog that says where a number comes from.

const dialog = document.getElementById("origin");

function cellKey(unit, place) {
  const row = unit.tagName === "TBODY" ? unit.rows[0] : unit;
  const cell = row.cells[place];
  const text = cell.dataset.key ?? cell.textContent.trim();
  return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
}

// Numbers before words, what is empty last, whichever the direction.
function compare(one, other, sign) {
  const empty = (value) => value === "" || value === "–";
  if (empty(one) || empty(other)) return empty(one) - empty(other);
  if (typeof one === "number" && typeof other === "number") return sign * (one - other);
  if (typeof one === typeof other) return sign * one.localeCompare(other, "en", { numeric: true });
  return typeof one === "number" ? -1 : 1;
}

function sortBy(button) {
  const head = button.closest("th"), table = button.closest("table");
  const up = head.getAttribute("aria-sort") !== "ascending";
  table.querySelectorAll("th[aria-sort]").forEach((th) => th.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const grouped = table.tBodies.length > 1;
  const units = grouped ? [...table.tBodies] : [...(table.tBodies[0]?.rows ?? [])];
  const keyed = units.map((unit) => [cellKey(unit, head.cellIndex), unit]);
  keyed.sort(([a], [b]) => compare(a, b, up ? 1 : -1));
  (grouped ? table : table.tBodies[0])?.append(...keyed.map(([, unit]) => unit));
}

function filterSheet(sheet) {
  const words = sheet.querySelector(".filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = [...sheet.querySelectorAll(".facet")].filter((select) => select.value);
  const rows = [...sheet.querySelector("table").tBodies[0].rows];
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const plain = (cell) => cell.textContent.replace(/\s+/g, " ").trim();
    const fits = words.every((word) => text.includes(word)) && chosen.every((select) => plain(row.cells[select.dataset.place]) === select.value);
    row.hidden = !fits;
    shown += fits;
  }
  sheet.querySelector(".count").textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
}

const placesOf = (unit) => (unit.dataset.runs ? unit.dataset.runs.split(" ").map(Number) : []);

// What runs have in common, as rows of a list of facts.
function originOf(runs) {
  const facts = make("dl");
  const add = (name, ...values) => facts.append(make("dt", {}, name), make("dd", {}, ...values));
  const each = (values) => unique(values).join("; ");
  const code = (values) => unique(values).flatMap((value) => [make("code", {}, value), make("br")]).slice(0, -1);
  add("Data", each(runs.map((run) => `${dataLabel(run)}${run.kind === "stand-in" ? "" : " (real)"}`)));
  add("Store, SHA-256", ...code(runs.map((run) => run.store_checksum)));
  add("Partition, SHA-256", ...code(runs.map((run) => run.partition_checksum)));
  add("Code version", ...code(runs.map((run) => run.code)));
  add("Environment", each(runs.map((run) => Object.entries(DATA.versions[run.versions]).map(([k, v]) => `${k} ${v}`).join(", "))));
  const git = DATA.environment?.git;
  if (git?.commit) add("Commit", make("code", {}, git.commit), git.modified ? " with changes that are not committed" : "");
  const settings = runs.map((run) => ({ ...DATA.settings, ...run.settings }));
  const names = unique(settings.flatMap(Object.keys));
  const alike = names.filter((name) => unique(settings.map((s) => s[name])).length === 1);
  add(runs.length > 1 ? "Settings of all" : "Settings", alike.map((name) => `${name} ${settings[0][name]}`).join(", "));
  const differ = names.filter((name) => !alike.includes(name));
  if (differ.length) add("Settings that differ", differ.map((name) => `${name}: ${unique(settings.map((s) => s[name] ?? "not set")).join(" or ")}`).join("; "));
  const cost = runs.map((run) => run.cost?.seconds).filter((seconds) => seconds);
  if (cost.length) add("Time", `${number(cost.reduce((a, b) => a + b, 0))} s of training`);
  return facts;
}

function runLine(run, files) {
  const shown = files?.length ? run.files.filter(([name]) => files.includes(name)) : run.files;
  const links = [...shown.map(([name]) => name), "run.json"];
  const go = () => { dialog.close(); openRun(run.id); };
  return make("li", {}, make("button", { type: "button", class: "link", onclick: go }, run.id), " ",
    ...unique(links).flatMap((name) => [" ", make("a", { href: `${run.address}/${name}` }, name)]));
}

function showOrigin(value, title, places, files, table) {
  const runs = places.map((place) => DATA.runs[place]);
  const body = document.getElementById("origin-body");
  const parts = [make("p", { class: "big" }, value), make("p", {}, title)];
  if (table) parts.push(make("p", { class: "note" }, "In ", make("code", {}, table.path), table.columns ? `, columns ${table.columns.split(" ").join(", ")}` : ""));
  if (table?.measured) parts.push(make("p", { class: "note" }, "Read from ", make("code", {}, table.measured.split(";").join(", ")), runs.length ? ". The networks are of:" : "."));
  if (runs.some((run) => run.kind === "stand-in")) parts.push(make("p", { class: "alarm" }, "Made from stand-in data."));
  if (runs.length) {
    parts.push(make("h3", {}, runs.length === 1 ? "One run" : `${runs.length} runs`), originOf(runs),
      make("ul", { class: "list" }, ...runs.map((run) => runLine(run, files))));
  }
  body.replaceChildren(...parts);
  dialog.showModal();
  dialog.scrollTop = 0;
}

function dataOrigin(value, title, set, table) {
  const facts = make("dl");
  for (const [name, text] of [["Data", set.label], ["Made by", set.source], ["Store, SHA-256", set.store], ["Partition", `${set.scheme}, ${set.clients} clients, target ${set.target}`]]) {
    facts.append(make("dt", {}, name), make("dd", {}, text));
  }
  showOrigin(value, title, [], [], table);
  document.getElementById("origin-body").append(make("h3", {}, "The data itself; no run"), facts);
}

function originOfCell(button) {
  const cell = button.closest("td"), table = button.closest("table"), row = cell.parentElement;
  const value = button.textContent.trim();
  if (table.classList.contains("claims")) {
    const claim = cell.closest("tbody");
    return showOrigin(value, claim.dataset.name, placesOf(claim), [], { path: CLAIMS_PATH, columns: button.dataset.columns, measured: claim.dataset.measured });
  }
  const head = table.tHead.rows[0].cells[cell.cellIndex];
  const words = [...row.cells].filter((other) => !other.classList.contains("n")).map((other) => other.textContent.trim().replace(/\s+/g, " "));
  const title = `${head.textContent.trim()}: ${words.join(", ")}`;
  const where = { path: table.dataset.path, columns: head.dataset.columns, measured: row.dataset.measured };
  const places = placesOf(row);
  if (!places.length && row.dataset.dataset) return dataOrigin(value, title, DATA.datasets[row.dataset.dataset], where);
  return showOrigin(value, title, places, head.dataset.files.split(" "), where);
}

// The runs behind a verdict, each with its final figures; made when it is first opened.
function openVerdict(button) {
  const evidence = document.getElementById(button.getAttribute("aria-controls"));
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  evidence.hidden = !open;
  const host = evidence.querySelector(".runs-behind");
  const runs = placesOf(evidence.closest("tbody")).map((place) => DATA.runs[place]);
  if (!open || host.childElementCount || !runs.length) return;
  const rows = runs.map((run) => make("tr", {},
    make("td", {}, make("button", { type: "button", class: "link", onclick: () => openRun(run.id) }, `${dataLabel(run)}, ${modelLabel(run)}, ${look(armOf(run)).label}, seed ${run.seed}`)),
    ...FINAL.map((figure) => make("td", { class: "n" }, make("span", {}, finalNumber(run, figure))))));
  const head = make("tr", {}, make("th", { scope: "col" }, "run"), ...FINAL.map(([, label]) => make("th", { scope: "col", class: "n" }, label)));
  host.append(make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Runs behind the verdict" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("sort")) sortBy(button);
  else if (button.classList.contains("open")) openVerdict(button);
  else if (button.matches("td > .number")) originOfCell(button);
});
for (const kind of ["input", "change"]) {
  document.addEventListener(kind, (event) => {
    const sheet = event.target.closest(".sheet");
    if (sheet) filterSheet(sheet);
  });
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
window.addEventListener("beforeprint", () => document.querySelectorAll("details.group").forEach((group) => { group.open = true; }));
drawFigures();
document.querySelectorAll("[data-values]").forEach(still);
startBrowser();

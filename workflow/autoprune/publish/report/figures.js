// The figures: methods against each other on one data set and network, means over seeds.

const DATA = JSON.parse(document.getElementById("data").textContent);
const ARMS = Object.keys(DATA.looks);
const MAIN = 6; // methods shown at first; the others are a click away

function look(arm) {
  const { label, dash, marker } = DATA.looks[arm];
  return { label, dash, marker, colour: `var(--arm-${ARMS.indexOf(arm)})` };
}

const armOf = (run) => `${run.method}/${run.variant}`;
const dataLabel = (run) => DATA.datasets.find((set) => set.name === run.dataset)?.label ?? run.dataset;
const modelLabel = (run) => DATA.models[run.model];
const unique = (values) => [...new Set(values)];
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Runs of one arm as points: the mean of what `values` gives for each round, and its extremes.
function overSeeds(runs, values) {
  const rounds = new Map();
  for (const run of runs) {
    run.curves.round.forEach((round, place) => {
      const pair = values(run.curves, place);
      if (pair.every((value) => value !== null)) rounds.set(round, [...(rounds.get(round) ?? []), pair]);
    });
  }
  return [...rounds].sort(([a], [b]) => a - b).map(([round, pairs]) => ({
    round, n: pairs.length, x: mean(pairs.map((p) => p[0])), y: mean(pairs.map((p) => p[1])),
    low: Math.min(...pairs.map((p) => p[1])), high: Math.max(...pairs.map((p) => p[1])),
  }));
}

const spread = (point) => (point.n > 1 ? ` (${percent(point.low)} to ${percent(point.high)} over ${point.n} seeds)` : "");

function chanceRule(dataset) {
  return dataset in DATA.chance ? [{ y: DATA.chance[dataset], label: "1 / classes" }] : [];
}

function accuracyByRound(groups, dataset) {
  const series = groups.map(([arm, runs]) => {
    const points = overSeeds(runs, (c, i) => [c.round[i], c.validation[i]]);
    return {
      ...look(arm), marker: null, name: look(arm).label, band: points,
      points: points.map((p) => ({ x: p.x, y: p.y, say: `round ${p.round}: ${percent(p.y)}${spread(p)}` })),
    };
  });
  return { title: "Validation accuracy by round", about: "Lines are means over seeds, bands reach from the lowest to the highest.", x: { label: "round" }, y: { format: percent }, series, rules: chanceRule(dataset) };
}

function accuracyByBytes(groups, dataset) {
  const series = groups.map(([arm, runs]) => {
    const points = overSeeds(runs, (c, i) => [c.bytes[i] / 1e6, c.validation[i]]);
    return {
      ...look(arm), marker: null, name: look(arm).label,
      points: points.map((p) => ({ x: p.x, y: p.y, say: `${number(p.x, 1)} MB after round ${p.round}: ${percent(p.y)}${spread(p)}` })),
    };
  });
  return { title: "Validation accuracy by megabytes sent", about: "Both ways, all clients, search included; means over seeds.", x: { label: "MB sent so far" }, y: { format: percent }, series, rules: chanceRule(dataset) };
}

function accuracyByParameters(groups, dataset) {
  const series = groups.map(([arm, runs]) => {
    const points = runs.map((run) => ({
      x: run.final.parameters, y: run.final.test_accuracy, faint: true,
      say: `seed ${run.seed}: ${percent(run.final.test_accuracy)} with ${number(run.final.parameters)} parameters`,
    }));
    const all = { x: mean(points.map((p) => p.x)), y: mean(points.map((p) => p.y)) };
    points.push({ ...all, say: `mean of ${runs.length}: ${percent(all.y)} with ${number(all.x)} parameters` });
    return { ...look(arm), name: look(arm).label, line: false, size: 1.15, points };
  });
  return { title: "Test accuracy against parameters", about: "Strong markers are means over seeds, faint ones single seeds.", x: { label: "parameters (log)", log: true }, y: { format: percent }, series, rules: chanceRule(dataset) };
}

function nullDistribution(groups, nulls) {
  const finals = groups.flatMap(([, runs]) => runs.map((run) => run.final.parameters_with_statistics));
  const everything = [...Object.values(nulls).flat(), ...finals];
  const low = Math.min(...everything), high = Math.max(...everything);
  const size = (high - low) / 24 || 1;
  const bars = Object.entries(nulls).flatMap(([name, draws]) => {
    const counts = Array(25).fill(0);
    for (const value of draws) counts[Math.floor((value - low) / size)]++;
    return counts.map((count, place) => ({
      css: name, from: low + place * size, to: low + (place + 1) * size, y: count / draws.length,
      say: `random networks, ${name}\n${percent(count / draws.length)} end with ${short(low + place * size)} to ${short(low + (place + 1) * size)} parameters`,
    })).filter((bar) => bar.y > 0);
  });
  const top = Math.max(...bars.map((bar) => bar.y));
  const asSmall = (size) => Object.entries(nulls).map(([name, draws]) => `${percent(draws.filter((d) => d <= size).length / draws.length)} (${name})`).join(", ");
  const series = groups.map(([arm, runs], place) => ({
    ...look(arm), name: look(arm).label, line: false, size: 1.15,
    points: runs.map((run) => ({
      x: run.final.parameters_with_statistics, y: top * (1.1 + 0.09 * place),
      say: `seed ${run.seed}: ${number(run.final.parameters_with_statistics)}; of random networks end as small: ${asSmall(run.final.parameters_with_statistics)}`,
    })),
  }));
  const y = { low: 0, format: (value) => (value <= top ? percent(value) : "") };
  return { title: "Final parameters, trained and random", about: "Bars: the rule on networks that learnt nothing, drawn fresh at every application or kept until filters go. Markers above: trained runs.", x: { label: "parameters, statistics counted (grey: random networks; light: fresh, dark: kept)" }, y, series, bars };
}

function drawFigures() {
  const choice = document.getElementById("figure-pair");
  const pairs = unique(DATA.runs.map((run) => `${run.dataset}/${run.model}`));
  for (const pair of pairs) {
    const run = DATA.runs.find((one) => `${one.dataset}/${one.model}` === pair);
    choice.append(make("option", { value: pair }, `${dataLabel(run)}, ${modelLabel(run)}`));
  }
  const hidden = new Set();
  const main = ARMS.filter((arm) => /^(dense\/fedavg|autoprune\/(reinit|inherit)|[a-z-]+\/(reinit|inherit|iterative))$/.test(arm)).slice(0, MAIN);
  if (ARMS.length > MAIN) ARMS.filter((arm) => !main.includes(arm)).forEach((arm) => hidden.add(arm));
  const show = () => showPair(choice.value, hidden, show);
  choice.addEventListener("change", show);
  show();
}

function showPair(pair, hidden, again) {
  const runs = DATA.runs.filter((run) => `${run.dataset}/${run.model}` === pair);
  const present = ARMS.filter((arm) => runs.some((run) => armOf(run) === arm));
  const groups = present.filter((arm) => !hidden.has(arm)).map((arm) => [arm, runs.filter((run) => armOf(run) === arm)]);
  const legend = document.getElementById("figure-legend");
  const focused = document.activeElement?.dataset?.arm;
  legend.replaceChildren(...present.map((arm) => {
    const toggle = () => { if (!hidden.delete(arm)) hidden.add(arm); again(); };
    return make("button", { type: "button", "aria-pressed": String(!hidden.has(arm)), "data-arm": arm, onclick: toggle }, swatch(look(arm)), look(arm).label);
  }));
  if (focused) legend.querySelector(`[data-arm="${focused}"]`)?.focus();
  const charts = document.getElementById("figure-charts");
  if (!groups.length) return charts.replaceChildren(make("p", {}, "No method is shown; choose one above."));
  const dataset = pair.split("/")[0];
  const specs = [accuracyByRound(groups, dataset), accuracyByBytes(groups, dataset), accuracyByParameters(groups, dataset)];
  const nulls = DATA.nulls[pair.replace("/", "-")];
  const searched = groups.filter(([arm]) => /^(autoprune|null-norms)\//.test(arm));
  if (nulls && searched.length) specs.push(nullDistribution(searched, nulls));
  charts.replaceChildren(...specs.filter((spec) => spec.series.some((s) => s.points.length)).map(chart));
}

/* The chosen token in words and small charts, and the lines of the tooltip. All text goes in as text, never as HTML. */

const CHARTS = [["norm", "Norm", 3], ["cosine", "Mean cosine to all other tokens", 3], ["common", "Cosine to the common vector", 3]];

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/* What is known of token i at a frame, in lines. */
function facts(model, i, frame) {
  const category = model.category(i);
  return [
    model.shown(i) + (category < 0 ? "" : " (" + model.info.categories[category].name + ")"),
    thousands(model.count(i)) + " times in the training text, group: " + model.groupLabel(i),
    "norm " + digits(model.at("norm", frame, i), 3) + ", mean cosine " + digits(model.at("cosine", frame, i), 3),
  ];
}

/* One quantity over the updates: the token's line, the mean of the map's tokens in grey, the shown update upright. */
function chart(model, i, frame, [name, title, places]) {
  const updates = model.info.course_updates, now = model.info.updates[frame];
  const values = model.course(name, i), mean = model.mean(name);
  const known = [...values, ...mean].filter((value) => value !== null);
  const low = Math.min(...known), high = Math.max(...known);
  const [left, right, top, bottom] = [46, 312, 8, 54];
  const last = Math.log2(updates[updates.length - 1] + 1) || 1;
  const first = Math.log2(updates[0] + 1);
  const across = (u) => left + (right - left) * (Math.log2(u + 1) - first) / (last - first || 1);
  const up = (value) => bottom - (bottom - top) * (value - low) / (high - low || 1);
  const line = (list, attributes) => {
    const points = list.map((value, t) => [value, updates[t]]).filter(([value]) => value !== null);
    return svg("polyline", { points: points.map(([v, u]) => across(u).toFixed(1) + "," + up(v).toFixed(1)).join(" "), fill: "none", ...attributes });
  };
  const label = (x, y, text, anchor) => svg("text", { x, y, "text-anchor": anchor }, text);
  const at = digits(model.at(name, frame, i), places);
  const ends = digits(values[0], places) + " at update " + thousands(updates[0]) + ", " +
    digits(values[values.length - 1], places) + " at update " + thousands(updates[updates.length - 1]);
  const drawing = svg("svg", { viewBox: "0 0 320 73", role: "img", "aria-label": title + ": " + ends + "." },
    svg("line", { x1: across(now), x2: across(now), y1: top - 4, y2: bottom + 4, class: "now" }),
    line(mean, { class: "mean" }),
    line(values, { class: "course" }),
    ...values.map((value, t) => (value === null ? "" : svg("circle", { cx: across(updates[t]), cy: up(value), r: 2, class: "dot" }))),
    label(left - 5, top + 4, digits(high, 2), "end"),
    label(left - 5, bottom + 4, digits(low, 2), "end"),
    label(left, 70, thousands(updates[0]), "start"),
    label(right, 70, thousands(updates[updates.length - 1]), "end"),
  );
  const figure = element("figure", null, { class: "chart" });
  const caption = element("figcaption", title + " ");
  caption.append(element("strong", at));
  figure.append(caption, drawing);
  return figure;
}

/* The nearest tokens at each update that they were looked for; those that were not among them the time before are bold. */
function neighbourTable(model, i, frame, choose) {
  const { near_updates: updates, space } = model.info;
  const table = element("table", null);
  const rows = space === "centred" ? "rows less the common vector" : "rows as they are";
  const some = updates.length < model.frames ? " Looked for at " + updates.length + " of the map's " + model.frames +
    " updates; the lines on the map are those of update " + thousands(updates[model.nearPlace(frame)]) + "." : "";
  table.append(element("caption", "Nearest tokens by cosine (" + rows + "), exact among all counted tokens; bold: new since the line before." + some));
  const body = element("tbody", null);
  let before = null;
  updates.forEach((update, m) => {
    const line = element("tr", null, m === model.nearPlace(frame) ? { class: "current" } : {});
    line.append(element("th", thousands(update), { scope: "row" }));
    const cell = element("td", null);
    const found = model.near(m, i);
    found.forEach(([j, cosine]) => {
      const fresh = before !== null && !before.has(j);
      const text = model.shown(j) + " " + digits(cosine, 2);
      const entry = model.onMap(j)
        ? element("button", text, { type: "button", class: fresh ? "token new" : "token", "data-token": String(j) })
        : element("span", text, { class: fresh ? "token new" : "token", title: "not on the map" });
      if (fresh) entry.append(element("span", " (new)", { class: "unseen" }));
      if (model.onMap(j)) entry.addEventListener("click", () => choose(j));
      cell.append(entry, " ");
    });
    if (!found.length) cell.append("none");
    before = new Set(found.map(([j]) => j));
    line.append(cell);
    body.append(line);
  });
  table.append(element("thead", null), body);
  const head = element("tr", null);
  head.append(element("th", "Update", { scope: "col" }), element("th", "Five nearest", { scope: "col" }));
  table.tHead.append(head);
  return table;
}

/* How many of the five nearest tokens of the first update are still there at the last. */
function change(model, i) {
  const updates = model.info.near_updates;
  if (updates.length < 2) return "";
  const first = new Set(model.near(0, i).map(([j]) => j));
  const last = model.near(updates.length - 1, i).map(([j]) => j);
  const kept = last.filter((j) => first.has(j)).length;
  return kept + " of its " + last.length + " nearest at update " + thousands(updates[updates.length - 1]) +
    " were there at update " + thousands(updates[0]) + ".";
}

/* Fill the panel; `choose(token)` is called for a neighbour that is clicked. */
function fillPanel(model, i, frame, choose) {
  const panel = document.getElementById("panel");
  const summary = document.getElementById("summary");
  const held = panel.contains(document.activeElement) && document.activeElement.dataset.token;
  const details = document.getElementById("details");
  document.getElementById("panel-title").textContent = i < 0 ? "No token chosen" : model.shown(i);
  document.getElementById("panel-hint").hidden = i >= 0;
  document.getElementById("clear").hidden = i < 0;
  details.replaceChildren();
  if (i < 0) {
    summary.textContent = "";
    return;
  }
  const [, counted, measured] = facts(model, i, frame);
  const category = model.category(i);
  const words = counted + ", row " + model.row(i) + (category < 0 ? "" : ", category: " + model.info.categories[category].name) +
    ". At update " + thousands(model.info.updates[frame]) + ": " + measured + ". " + change(model, i);
  /* A live region: a screen reader reads it as a whole, with the token's text, which the heading shows to others. */
  summary.replaceChildren(element("span", model.shown(i) + ": ", { class: "unseen" }), words);
  details.append(...CHARTS.map((entry) => chart(model, i, frame, entry)));
  details.append(element("p", "Grey: mean of the map's tokens; upright line: the update shown; updates on a logarithmic axis.", { class: "note" }));
  if (model.info.near_updates.length) details.append(neighbourTable(model, i, frame, choose));
  else details.append(element("p", "Nearest tokens were not looked for when this page was made."));
  if (held) document.getElementById("panel-title").focus({ preventScroll: true });
}

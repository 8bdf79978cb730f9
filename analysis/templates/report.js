"use strict";
/* The interactive plots: one <div data-explorer> each, with its numbers in a JSON script element. A range input moves
   through the recorded updates (arrow keys work); both plots of an explorer follow it. No request is made. */
(function () {
  const config = (narrow) => ({
    displayModeBar: narrow ? false : undefined, /* it would cover the title */
    displaylogo: false,
    responsive: true,
    plotlyServerURL: "",
    modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
  });
  const FONT = { family: 'system-ui, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif', size: 13, color: "#1b1f24" };

  /* Plotly reads a small part of HTML in labels: a token's text must not be taken for it. */
  function plain(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function number(value, digits) {
    return value === null ? "none" : value.toFixed(digits);
  }

  /* What is known of token i at snapshot f, as lines of text. */
  function facts(data, i, f) {
    const frame = data.frames[f];
    const category = data.tokens.category[i];
    const lines = [
      data.tokens.text[i] + (category < 0 ? "" : " (" + data.categories[category].name + ")"),
      "token count " + data.tokens.count[i].toLocaleString("en-US") + ", group: " + data.groups[data.tokens.group[i]],
      "norm " + number(frame.norm[i], 3) + ", mean cosine to all others " + number(frame.cosine[i], 3),
    ];
    const at = frame.near[i] === null ? data.frames.length - 1 : f; /* some are looked up at the last update only */
    const cosines = data.frames[at].near_cosine[i];
    const near = data.frames[at].near[i].map((row, k) => data.texts[row] + " " + number(cosines[k], 2));
    lines.push("nearest at update " + data.updates[at] + ": " + (near.length ? near.join(", ") : "none"));
    return lines;
  }

  function wrapped(line, width) {
    const parts = [];
    let rest = line;
    while (rest.length > width) {
      const cut = rest.lastIndexOf(", ", width);
      const at = cut > 0 ? cut + 1 : width;
      parts.push(rest.slice(0, at));
      rest = rest.slice(at).trimStart();
    }
    parts.push(rest);
    return parts;
  }

  function hover(data, i, f) {
    return facts(data, i, f).flatMap((line) => wrapped(line, 60)).map(plain).join("<br>");
  }

  /* One trace for the tokens of no category and one for each category, so that the legend can hide them. */
  function members(data, subset) {
    const lists = data.categories.map(() => []);
    const rest = [];
    subset.forEach((i, place) => {
      const category = data.tokens.category[i];
      (category < 0 ? rest : lists[category]).push([i, place]);
    });
    return { rest, lists };
  }

  function traces(data, subset, f, position) {
    const parts = members(data, subset);
    const one = (name, list, marker) => ({
      type: "scatter",
      mode: "markers",
      name,
      x: list.map(([i, place]) => position(i, place, f)[0]),
      y: list.map(([i, place]) => position(i, place, f)[1]),
      hovertext: list.map(([i]) => hover(data, i, f)),
      hoverinfo: "text",
      marker,
    });
    const result = [one("other tokens", parts.rest, { size: 5, color: "#9aa4ae", opacity: 0.55 })];
    data.categories.forEach((category, c) => {
      if (parts.lists[c].length) {
        const size = category.symbol.startsWith("triangle") ? 10 : 8;
        const marker = { size, color: category.colour, symbol: category.symbol, line: { width: 0.5, color: "#ffffff" } };
        result.push(one(category.name, parts.lists[c], marker));
      }
    });
    return result;
  }

  function layout(narrow, title, x, y) {
    return {
      title: { text: title, font: { size: 14 }, x: 0.01, xanchor: "left" },
      font: FONT,
      paper_bgcolor: "#ffffff",
      plot_bgcolor: "#ffffff",
      hovermode: "closest",
      hoverlabel: { bgcolor: "#ffffff", bordercolor: "#57606a", font: FONT, align: "left" },
      uirevision: "kept",
      margin: { l: y.title ? 60 : 15, r: 15, t: 45, b: x.title ? 55 : 15 },
      showlegend: true,
      legend: narrow ? { orientation: "h", y: -0.2, font: { size: 11 }, maxheight: 0.3 } : { font: { size: 12 }, itemsizing: "constant" },
      xaxis: Object.assign({ gridcolor: "#e5e9ed", zeroline: false }, x),
      yaxis: Object.assign({ gridcolor: "#e5e9ed", zeroline: false }, y),
    };
  }

  /* An axis of a map: its numbers mean nothing. */
  function hidden(range) {
    return { showticklabels: false, showgrid: false, ticks: "", range };
  }

  function start(root) {
    const id = root.dataset.explorer;
    const data = JSON.parse(document.getElementById(id + "-data").textContent);
    const all = data.tokens.text.map((_, i) => i);
    const narrow = root.clientWidth < 700;
    const scatter = document.getElementById(id + "-scatter");
    const map = document.getElementById(id + "-map");
    const sliders = Array.from(root.querySelectorAll("input.slider"));
    const outputs = Array.from(root.querySelectorAll("output.update"));
    const preservation = root.querySelector(".preservation");
    const input = root.querySelector("input.token");
    const found = root.querySelector(".found");
    let frame = data.updates.length - 1;

    function draw() {
      const at = "update " + data.updates[frame].toLocaleString("en-US");
      Plotly.react(
        scatter,
        traces(data, all, frame, (i) => [data.tokens.x[i], data.frames[frame].cosine[i]]),
        layout(
          narrow,
          narrow ? "Mean cosine and token count, " + at : "Mean cosine against token count, " + at,
          { title: { text: "token count" }, type: "log", range: data.x_range, tickvals: data.x_ticks, ticktext: data.x_labels },
          { title: { text: narrow ? "mean cosine" : "mean cosine to all other tokens" }, range: data.y_range }
        ),
        config(narrow)
      );
      if (map) {
        const where = data.map.positions[frame];
        Plotly.react(
          map,
          traces(data, data.map.tokens, frame, (_, place) => [where[0][place], where[1][place]]),
          layout(narrow, "t-SNE map (a picture, not evidence), " + at, hidden(data.map.x_range), hidden(data.map.y_range)),
          config(narrow)
        );
        preservation.textContent = data.map.preservation[frame];
      }
      sliders.forEach((slider) => {
        slider.value = String(frame);
        slider.setAttribute("aria-valuetext", at);
      });
      outputs.forEach((output) => { output.textContent = at; });
      root.dataset.update = String(data.updates[frame]);
      look();
    }

    /* A way to a token's numbers without a mouse. */
    function look() {
      found.replaceChildren();
      const wanted = input.value.trim();
      if (!wanted) return;
      const i = data.tokens.plain.findIndex((text) => text.trim() === wanted);
      const lines = i < 0 ? ["Not among the plotted tokens."] : facts(data, i, frame).concat("at update " + data.updates[frame]);
      lines.forEach((line) => {
        const paragraph = document.createElement("p");
        paragraph.textContent = line;
        paragraph.style.margin = "0";
        found.append(paragraph);
      });
    }

    let waiting = false;
    sliders.forEach((slider) => slider.addEventListener("input", () => {
      frame = Number(slider.value);
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    }));
    input.addEventListener("input", look);
    const options = document.createDocumentFragment();
    data.tokens.plain.forEach((text, i) => {
      if (data.tokens.category[i] < 0) return;
      const option = document.createElement("option");
      option.value = text.trim();
      options.append(option);
    });
    document.getElementById(id + "-tokens").append(options);
    draw();
  }

  document.querySelectorAll("[data-explorer]").forEach(start);
})();

/* The page: one state, the controls that change it, and one redraw for all of them. */

async function start() {
  const info = JSON.parse(document.getElementById("map-info").textContent);
  const bytes = await inflate(document.getElementById("map-bytes").textContent);
  const model = new Model(info, unpackArrays(info.layout, bytes));
  const canvas = document.getElementById("map");
  const tooltip = document.getElementById("tooltip");
  const slider = document.getElementById("update");
  const play = document.getElementById("play");
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const camera = new Camera();
  const painter = new Painter(canvas, model);
  const box = bounds(model);
  const state = {
    camera, frame: model.frames - 1, xs: model.x[model.frames - 1], ys: model.y[model.frames - 1], moving: false,
    group: -1, colouring: "frequency", hidden: new Set(), selected: -1, hovered: -1, near: [],
  };
  const times = { redraw: [], step: [], hover: [], click: [] }; /* milliseconds, the latest last */
  let grid = null, waiting = false, motion = 0, playing = 0;

  function timed(name, work) {
    const begun = performance.now();
    const result = work();
    times[name].push(performance.now() - begun);
    if (times[name].length > 200) times[name].shift();
    return result;
  }

  function paint() {
    timed("redraw", () => painter.paint(state));
    const { dataset } = document.body;
    dataset.update = String(info.updates[state.frame]);
    dataset.selected = state.selected < 0 ? "" : String(state.selected);
    dataset.group = String(state.group);
    dataset.zoom = camera.zoom.toFixed(3);
    dataset.centre = camera.x.toFixed(3) + "," + camera.y.toFixed(3);
    dataset.moving = String(state.moving);
  }

  /* Several changes before the next frame are drawn once. */
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; paint(); });
  }

  function gridNow() {
    if (!grid) grid = new Grid(model.x[state.frame], model.y[state.frame], box);
    return grid;
  }

  /* The update shown */

  function describe() {
    const at = "update " + thousands(info.updates[state.frame]);
    slider.value = String(state.frame);
    slider.setAttribute("aria-valuetext", at);
    document.getElementById("update-name").textContent = at;
    document.getElementById("preservation").textContent = "At " + at + ": " + info.preservation[state.frame] + ".";
    document.getElementById("signature").textContent = info.signatures[state.frame];
    canvas.setAttribute("aria-label", "t-SNE map of " + thousands(model.n) + " tokens at " + at +
      (state.selected < 0 ? "" : ", chosen: " + model.shown(state.selected)));
  }

  function chosenNear() {
    const place = state.selected < 0 ? -1 : model.nearPlace(state.frame);
    state.near = place < 0 ? [] : model.near(place, state.selected);
  }

  function show(frame) {
    if (frame === state.frame) return;
    const fromX = state.xs, fromY = state.ys;
    state.frame = frame;
    grid = null;
    state.hovered = -1;
    tooltip.hidden = true;
    chosenNear();
    describe();
    if (state.selected >= 0) fillPanel(model, state.selected, frame, select);
    cancelAnimationFrame(motion);
    const toX = model.x[frame], toY = model.y[frame];
    const land = () => { Object.assign(state, { xs: toX, ys: toY, moving: false }); timed("step", paint); };
    if (calm.matches) { land(); return; }
    const begun = performance.now(), lasting = 600;
    const xs = new Float32Array(model.n), ys = new Float32Array(model.n);
    state.moving = true;
    function move(now) {
      const part = Math.min(1, Math.max(0, (now - begun) / lasting));
      if (part >= 1) { land(); return; }
      const eased = part * part * (3 - 2 * part);
      for (let i = 0; i < model.n; i++) {
        xs[i] = fromX[i] + (toX[i] - fromX[i]) * eased;
        ys[i] = fromY[i] + (toY[i] - fromY[i]) * eased;
      }
      Object.assign(state, { xs, ys });
      paint();
      motion = requestAnimationFrame(move);
    }
    motion = requestAnimationFrame(move);
  }

  function stop() {
    clearInterval(playing);
    playing = 0;
    play.textContent = "Play";
  }

  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  play.addEventListener("click", () => {
    if (playing) { stop(); return; }
    play.textContent = "Stop";
    show(state.frame === model.frames - 1 ? 0 : state.frame + 1);
    playing = setInterval(() => { if (state.frame === model.frames - 1) stop(); else show(state.frame + 1); }, 1500);
  });

  /* The chosen token */

  function select(i, centred = false) {
    state.selected = i;
    chosenNear();
    fillPanel(model, i, state.frame, (j) => select(j, true));
    if (i >= 0 && centred) camera.centre(model.x[state.frame][i], model.y[state.frame][i], 3);
    describe();
    redraw();
  }

  const search = new Search(model, (i) => {
    /* A token that the chosen group would dim must be seen. */
    if (state.group >= 0 && model.group(i) !== state.group) chooseGroup(-1);
    select(i, true);
  });
  document.getElementById("clear").addEventListener("click", () => { select(-1); search.input.focus(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") select(-1); });

  /* Pointing */

  function under(left, top, reach) {
    const [x, y] = camera.toData(left, top);
    const weight = (i) => (state.group >= 0 && model.group(i) !== state.group ? 0 : painter.isWord(state, i) ? 2 : 1);
    return gridNow().nearest(x, y, reach / camera.scale, weight);
  }

  function hover(left, top) {
    const i = state.moving ? -1 : under(left, top, 9);
    if (i < 0) tooltip.hidden = true;
    else {
      tooltip.replaceChildren(...facts(model, i, state.frame).map((line) => element("div", line)));
      tooltip.hidden = false;
      const wide = tooltip.offsetWidth, high = tooltip.offsetHeight;
      tooltip.style.left = Math.max(0, Math.min(left + 14, camera.width - wide)) + "px";
      tooltip.style.top = (top + 18 + high > camera.height ? Math.max(0, top - high - 12) : top + 18) + "px";
    }
    if (i === state.hovered) return;
    state.hovered = i;
    canvas.style.cursor = i < 0 ? "grab" : "pointer";
    paint();
  }

  const pointers = new Map();
  let travelled = 0, spread = 0;
  const place = (event) => { const edge = canvas.getBoundingClientRect(); return [event.clientX - edge.left, event.clientY - edge.top]; };
  const apart = () => { const [[a, b], [c, d]] = [...pointers.values()]; return Math.hypot(a - c, b - d); };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    travelled = pointers.size > 1 ? 100 : 0;
    if (pointers.size === 2) spread = apart();
  });
  canvas.addEventListener("pointermove", (event) => {
    const [left, top] = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) { timed("hover", () => hover(left, top)); return; }
    pointers.set(event.pointerId, [left, top]);
    if (pointers.size === 2) {
      const now = apart(), [[a, b], [c, d]] = [...pointers.values()];
      camera.zoomAt(now / (spread || now), (a + c) / 2, (b + d) / 2);
      spread = now;
    } else {
      travelled += Math.hypot(left - before[0], top - before[1]);
      if (travelled < 4) return;
      camera.pan(left - before[0], top - before[1]);
      tooltip.hidden = true;
    }
    redraw();
  });
  canvas.addEventListener("pointerup", (event) => {
    const known = pointers.delete(event.pointerId);
    if (!known || travelled >= 4 || state.moving) return;
    timed("click", () => { select(under(...place(event), event.pointerType === "touch" ? 18 : 9)); paint(); });
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => { tooltip.hidden = true; if (state.hovered >= 0) { state.hovered = -1; redraw(); } });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    camera.zoomAt(Math.exp(-0.0016 * lines * Math.max(-400, Math.min(400, event.deltaY))), ...place(event));
    redraw();
  }, { passive: false });

  /* The camera by keyboard and buttons */

  const moves = {
    ArrowLeft: () => camera.pan(60, 0), ArrowRight: () => camera.pan(-60, 0), ArrowUp: () => camera.pan(0, 60), ArrowDown: () => camera.pan(0, -60),
    "+": () => camera.zoomAt(1.4), "=": () => camera.zoomAt(1.4), "-": () => camera.zoomAt(1 / 1.4), "0": () => camera.fit(box),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[event.key]();
    redraw();
  });
  for (const [id, key] of [["zoom-in", "+"], ["zoom-out", "-"], ["reset", "0"]]) {
    document.getElementById(id).addEventListener("click", () => { moves[key](); redraw(); });
  }

  /* Groups and categories */

  const groups = document.getElementById("group");
  function chooseGroup(g) {
    state.group = g;
    groups.value = String(g);
    redraw();
  }
  groups.addEventListener("change", () => chooseGroup(Number(groups.value)));
  for (const choice of document.querySelectorAll("input[name=colouring]")) {
    choice.addEventListener("change", () => { state.colouring = choice.value; ramp(); redraw(); });
  }

  function ramp() {
    const colours = state.colouring === "groups" ? painter.ramp : painter.greys;
    document.getElementById("ramp").replaceChildren(...info.groups.map((group, g) => {
      const item = element("li", null, group.tokens ? {} : { hidden: "" });
      item.append(svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("circle", { cx: 6, cy: 6, r: 5, fill: colours[g] })), group.label);
      return item;
    }));
  }

  const sizes = info.categories.map(() => 0);
  for (let i = 0; i < model.n; i++) if (model.category(i) >= 0) sizes[model.category(i)] += 1;
  const boxes = info.categories.map((category, c) => {
    const input = element("input", null, { type: "checkbox", id: "category-" + c });
    input.checked = true;
    input.addEventListener("change", () => { if (input.checked) state.hidden.delete(c); else state.hidden.add(c); redraw(); });
    const outline = corners(category.symbol, 5);
    const shape = outline ? svg("polygon", { points: outline.map((p) => p.join(",")).join(" ") }) : svg("circle", { r: 5 });
    shape.setAttribute("fill", category.colour);
    const label = element("label", null, { for: "category-" + c });
    label.append(input, svg("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }, shape), category.name + " ", element("span", String(sizes[c]), { class: "note" }));
    return [label, input];
  });
  document.getElementById("categories").append(...boxes.filter((_, c) => sizes[c]).map(([label]) => label));
  for (const [id, on] of [["all-categories", true], ["no-categories", false]]) {
    document.getElementById(id).addEventListener("click", () => {
      for (const [, input] of boxes) if (input.checked !== on) input.click();
    });
  }

  function measureCanvas() {
    camera.resize(canvas.clientWidth, canvas.clientHeight);
    painter.resize(canvas.clientWidth, canvas.clientHeight);
    paint();
  }
  camera.resize(canvas.clientWidth, canvas.clientHeight);
  camera.fit(box);
  new ResizeObserver(measureCanvas).observe(canvas);
  ramp();
  describe();
  measureCanvas();
  document.getElementById("loading").hidden = true;

  /* For tests and the curious: what is shown, to be read only. */
  window.tokenMap = Object.freeze({
    state: () => ({ frame: state.frame, update: info.updates[state.frame], selected: state.selected, hovered: state.hovered,
      group: state.group, zoom: camera.zoom, centre: [camera.x, camera.y], moving: state.moving,
      hidden: [...state.hidden], near: state.near.map((entry) => entry.slice()), tokens: model.n }),
    position: (i) => [state.xs[i], state.ys[i]],
    pixel: (i) => { const edge = canvas.getBoundingClientRect(), at = camera.toScreen(state.xs[i], state.ys[i]); return [edge.left + at[0], edge.top + at[1]]; },
    text: (i) => model.shown(i),
    find: (typed) => search.finder.find(typed),
    times: () => JSON.parse(JSON.stringify(times)),
  });
  document.body.dataset.ready = "true";
}

start().catch((error) => {
  const loading = document.getElementById("loading");
  loading.hidden = false;
  loading.setAttribute("role", "alert");
  loading.textContent = error.message;
  document.body.dataset.ready = "failed";
});

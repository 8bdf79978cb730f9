/* Drawing on the canvas. Dots are written straight into the pixels (50,000 take a few milliseconds); what is drawn on top
   of them (category words, the chosen token and its neighbours, labels) are ordinary canvas paths. */

const PAPER = 0xffffffff;
const DIMMED = "#e3e7eb";
const FAINTEST = [200, 207, 213], DARKEST = [52, 60, 68];
const CHOSEN = "#a40e26";

/* One shade of grey a group, from rare (light) to frequent (dark). */
function greys(groups) {
  const last = Math.max(1, groups.length - 2); /* the last group is that of unreachable rows */
  return groups.map((_, g) => {
    const share = g > last ? 0 : g / last;
    return "#" + FAINTEST.map((low, c) => Math.round(low + (DARKEST[c] - low) * share).toString(16).padStart(2, "0")).join("");
  });
}

/* "#rrggbb" as a little-endian RGBA pixel. */
function pixel(colour) {
  const value = parseInt(colour.slice(1), 16);
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

/* A disc as offsets from its middle and the share (0 to 256) of each pixel that it covers. */
function disc(radius) {
  const parts = [];
  const reach = Math.ceil(radius);
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const share = Math.round(256 * Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy))));
      if (share > 20) parts.push([dx, dy, share]);
    }
  }
  return parts;
}

function blend(under, over, share) {
  let result = 0xff000000;
  for (let shift = 0; shift < 24; shift += 8) {
    const low = (under >>> shift) & 0xff, high = (over >>> shift) & 0xff;
    result |= (low + (((high - low) * share) >> 8)) << shift;
  }
  return result >>> 0;
}

/* The outline of a category's marker around (0, 0), for canvas paths and SVG alike: a list of corners, null for a circle. */
function corners(symbol, r) {
  const t = r * 0.36;
  return {
    circle: null,
    square: [[-r, -r], [r, -r], [r, r], [-r, r]],
    "triangle-up": [[0, -1.25 * r], [1.2 * r, 0.95 * r], [-1.2 * r, 0.95 * r]],
    "triangle-down": [[0, 1.25 * r], [1.2 * r, -0.95 * r], [-1.2 * r, -0.95 * r]],
    diamond: [[0, -1.35 * r], [1.35 * r, 0], [0, 1.35 * r], [-1.35 * r, 0]],
    cross: [[-t, -1.2 * r], [t, -1.2 * r], [t, -t], [1.2 * r, -t], [1.2 * r, t], [t, t], [t, 1.2 * r], [-t, 1.2 * r],
      [-t, t], [-1.2 * r, t], [-1.2 * r, -t], [-t, -t]],
  }[symbol];
}

class Painter {
  constructor(canvas, model) {
    this.canvas = canvas;
    this.model = model;
    this.context = canvas.getContext("2d");
    this.greys = greys(model.info.groups);
    this.ramp = model.info.groups.map((group) => group.colour);
    /* Rare groups first, so that the frequent ones lie on top. */
    const rank = (i) => (model.group(i) === model.info.groups.length - 1 ? -2 : model.group(i));
    this.order = Uint32Array.from({ length: model.n }, (_, i) => i).sort((a, b) => rank(a) - rank(b) || a - b);
    this.font = getComputedStyle(document.body).fontFamily;
    this.words = Array.from(this.order).filter((i) => model.category(i) >= 0);
  }

  resize(width, height) {
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  radius(camera) {
    const base = this.model.n > 20000 ? 0.75 : this.model.n > 4000 ? 1.3 : 2.1;
    return Math.min(4.5, base * Math.sqrt(Math.max(1, camera.zoom)));
  }

  /* `state`: xs, ys, camera, group, colouring, hidden, selected, near ([[token, cosine]]), hovered, moving. */
  paint(state) {
    this.dots(state);
    const { context, ratio } = this;
    context.putImageData(this.image, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const size = Math.min(8, 4 * Math.max(1, state.camera.zoom ** 0.3));
    for (const i of this.words) {
      if (!this.isWord(state, i)) continue;
      const [x, y] = state.camera.toScreen(state.xs[i], state.ys[i]);
      const style = this.model.info.categories[this.model.category(i)];
      this.marker(x, y, style.symbol, style.colour, size);
    }
    if (state.selected >= 0) this.links(state);
    if (state.hovered >= 0) this.ring(state, state.hovered, "#1b1f24", 1.5);
    if (!state.moving) this.labels(state);
  }

  isWord(state, i) {
    const category = this.model.category(i);
    return category >= 0 && !state.hidden.has(category) && (state.group < 0 || this.model.group(i) === state.group);
  }

  dots(state) {
    const { pixels, ratio, model, canvas: { width, height } } = this;
    const { xs, ys, camera, group } = state;
    pixels.fill(PAPER);
    const colours = (state.colouring === "groups" ? this.ramp : this.greys).map(pixel);
    const dimmed = pixel(DIMMED);
    const scale = camera.scale * ratio;
    const left = width / 2 - camera.x * scale, top = height / 2 + camera.y * scale;
    const parts = disc(this.radius(camera) * ratio);
    const reach = Math.ceil(this.radius(camera) * ratio) + 1;
    const passes = group < 0 ? [null] : [false, true]; /* the chosen group last */
    for (const pass of passes) {
      for (const i of this.order) {
        const own = model.group(i);
        if (pass !== null && (own === group) !== pass) continue;
        const x = Math.round(left + xs[i] * scale), y = Math.round(top - ys[i] * scale);
        if (x < reach || y < reach || x >= width - reach || y >= height - reach || this.isWord(state, i)) continue;
        const colour = pass === false || own < 0 ? dimmed : colours[own];
        for (const [dx, dy, share] of parts) {
          const place = (y + dy) * width + x + dx;
          pixels[place] = share >= 256 ? colour : blend(pixels[place], colour, share);
        }
      }
    }
  }

  marker(x, y, symbol, colour, r) {
    const { context } = this;
    const outline = corners(symbol, r);
    context.beginPath();
    if (outline) outline.forEach(([dx, dy], at) => (at ? context.lineTo(x + dx, y + dy) : context.moveTo(x + dx, y + dy)));
    else context.arc(x, y, r, 0, 7);
    context.closePath();
    context.fillStyle = colour;
    context.strokeStyle = "#ffffff";
    context.lineWidth = 0.8;
    context.fill();
    context.stroke();
  }

  ring(state, i, colour, width, radius = 8) {
    const [x, y] = state.camera.toScreen(state.xs[i], state.ys[i]);
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 7);
    this.context.strokeStyle = colour;
    this.context.lineWidth = width;
    this.context.stroke();
  }

  links(state) {
    const { context, model } = this;
    const [x, y] = state.camera.toScreen(state.xs[state.selected], state.ys[state.selected]);
    for (const [i] of state.near) {
      if (!model.onMap(i)) continue;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(...state.camera.toScreen(state.xs[i], state.ys[i]));
      context.strokeStyle = CHOSEN;
      context.globalAlpha = 0.55;
      context.lineWidth = 1.3;
      context.stroke();
      context.globalAlpha = 1;
      this.ring(state, i, CHOSEN, 1.5, 6);
    }
    this.ring(state, state.selected, CHOSEN, 3, 9);
  }

  /* The chosen token and its neighbours, then category words, then frequent tokens, each where it covers no other label. */
  labels(state) {
    const { context, model } = this;
    const { camera } = state;
    const near = state.near.map(([i]) => i).filter((i) => model.onMap(i));
    const wanted = state.selected < 0 ? [] : [state.selected, ...near];
    const first = wanted.length;
    if (camera.zoom >= 1.8) wanted.push(...this.words.filter((i) => this.isWord(state, i)));
    if (camera.zoom >= 5) {
      for (let at = this.order.length - 1; at >= 0; at--) {
        const i = this.order[at];
        if (state.group < 0 || model.group(i) === state.group) wanted.push(i);
      }
    }
    const taken = [], done = new Set();
    context.textBaseline = "middle";
    for (const [place, i] of wanted.entries()) {
      if (taken.length >= first + 70) break;
      const [x, y] = camera.toScreen(state.xs[i], state.ys[i]);
      if (done.has(i) || x < 0 || y < 0 || x > camera.width || y > camera.height) continue;
      done.add(i);
      const text = place < first ? model.shown(i) : model.shown(i).slice(1, -1).trim();
      context.font = (place < first ? "600 13px " : "12px ") + this.font;
      const width = context.measureText(text).width;
      const box = [[x + 10, y], [x - 10 - width, y], [x - width / 2, y - 15], [x - width / 2, y + 15]]
        .map(([left, middle]) => [left - 2, middle - 8, left + width + 2, middle + 8])
        .find((b) => b[0] > 0 && b[2] < camera.width && b[1] > 0 && b[3] < camera.height &&
          !taken.some((o) => b[0] < o[2] && o[0] < b[2] && b[1] < o[3] && o[1] < b[3]));
      if (!box) continue;
      taken.push(box);
      context.lineWidth = 3;
      context.strokeStyle = "rgba(255,255,255,0.9)";
      context.strokeText(text, box[0] + 2, box[1] + 8);
      context.fillStyle = i === state.selected || near.includes(i) ? CHOSEN
        : this.isWord(state, i) ? model.info.categories[model.category(i)].colour : "#32383f";
      context.fillText(text, box[0] + 2, box[1] + 8);
    }
  }
}

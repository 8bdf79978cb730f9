/* Where things are: the camera that maps the picture to the canvas, and the grid that finds the token at a place. */

class Camera {
  constructor() {
    Object.assign(this, { width: 1, height: 1, x: 0, y: 0, scale: 1, fitted: 1, box: null });
  }

  /* Show everything: `box` is [left, bottom, right, top] of all maps. */
  fit(box) {
    this.box = box;
    const [left, bottom, right, top] = box;
    this.fitted = 0.94 * Math.min(this.width / (right - left || 1), this.height / (top - bottom || 1));
    this.scale = this.fitted;
    this.x = (left + right) / 2;
    this.y = (bottom + top) / 2;
  }

  /* A canvas of another size shows the same part. */
  resize(width, height) {
    const zoom = this.zoom;
    const place = [this.x, this.y];
    Object.assign(this, { width, height });
    if (!this.box) return;
    this.fit(this.box);
    [this.x, this.y] = place;
    this.scale = this.fitted * zoom;
  }

  get zoom() { return this.scale / this.fitted; }

  toScreen(x, y) { return [(x - this.x) * this.scale + this.width / 2, this.height / 2 - (y - this.y) * this.scale]; }
  toData(left, top) { return [(left - this.width / 2) / this.scale + this.x, (this.height / 2 - top) / this.scale + this.y]; }

  pan(right, down) {
    const [left, bottom, farRight, top] = this.box;
    this.x = Math.min(farRight, Math.max(left, this.x - right / this.scale));
    this.y = Math.min(top, Math.max(bottom, this.y + down / this.scale));
  }

  /* Zoom by a factor; the place under (left, top) stays where it is. */
  zoomAt(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toData(left, top);
    this.scale = this.fitted * Math.min(150, Math.max(0.7, this.zoom * factor));
    const [nowX, nowY] = this.toData(left, top);
    this.x += x - nowX;
    this.y += y - nowY;
  }

  centre(x, y, atLeast) {
    this.x = x;
    this.y = y;
    this.scale = Math.max(this.scale, this.fitted * atLeast);
  }
}

/* The smallest box around all maps. */
function bounds(model) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let frame = 0; frame < model.frames; frame++) {
    for (let i = 0; i < model.n; i++) {
      const x = model.x[frame][i], y = model.y[frame][i];
      if (x < box[0]) box[0] = x;
      if (y < box[1]) box[1] = y;
      if (x > box[2]) box[2] = x;
      if (y > box[3]) box[3] = y;
    }
  }
  return box;
}

/* Tokens by cell of a uniform grid over one map: `nearest` looks at a few cells only, however many tokens there are. */
class Grid {
  constructor(xs, ys, box) {
    this.side = Math.min(256, Math.max(4, Math.round(Math.sqrt(xs.length / 2))));
    Object.assign(this, { xs, ys, box });
    this.cell = Math.max(box[2] - box[0], box[3] - box[1], 1e-9) / this.side;
    const cells = new Uint32Array(xs.length);
    this.starts = new Uint32Array(this.side * this.side + 1);
    for (let i = 0; i < xs.length; i++) {
      cells[i] = this.row(ys[i]) * this.side + this.column(xs[i]);
      this.starts[cells[i] + 1] += 1;
    }
    for (let c = 0; c < this.side * this.side; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice();
    this.members = new Uint32Array(xs.length);
    for (let i = 0; i < xs.length; i++) this.members[next[cells[i]]++] = i;
  }

  column(x) { return Math.min(this.side - 1, Math.max(0, Math.floor((x - this.box[0]) / this.cell))); }
  row(y) { return Math.min(this.side - 1, Math.max(0, Math.floor((y - this.box[1]) / this.cell))); }

  /* The token closest to (x, y) within `reach` (in the map's units), or -1. `weight(i)` is 0 for tokens that cannot be
     meant; a larger one draws the pointer from further away. */
  nearest(x, y, reach, weight) {
    let best = -1, least = reach * reach;
    for (let row = this.row(y - reach); row <= this.row(y + reach); row++) {
      for (let column = this.column(x - reach); column <= this.column(x + reach); column++) {
        const cell = row * this.side + column;
        for (let place = this.starts[cell]; place < this.starts[cell + 1]; place++) {
          const i = this.members[place], w = weight(i);
          if (!w) continue;
          const away = ((this.xs[i] - x) ** 2 + (this.ys[i] - y) ** 2) / w;
          if (away < least) { least = away; best = i; }
        }
      }
    }
    return best;
  }
}

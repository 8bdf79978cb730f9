/* The page's numbers: unpacks what analysis/map_packing.py packed, and answers questions about one token.

   Tokens are numbered 0 to n - 1 by their place on the map; numbers from n on are neighbours that are not on it and have
   nothing but a text. */

/* The bytes behind the base64 text. */
async function inflate(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack the page's data (it lacks DecompressionStream). " +
      "Any Chromium from 80, Firefox from 113 or Safari from 16.4 on can.");
  }
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* Arrays by name: { codes, shape, none, value(place) }; codes are whole numbers, `none` stands for no value. */
function unpackArrays(layout, bytes) {
  const arrays = {};
  let start = 0;
  for (const { name, bytes: size, shape, low, step, delta } of layout) {
    const length = shape.reduce((product, side) => product * side, 1);
    const codes = new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[size](length);
    for (let plane = 0; plane < size; plane++) {
      for (let i = 0; i < length; i++) codes[i] |= bytes[start + i] << (8 * plane);
      start += length;
    }
    if (delta) {
      const row = length / shape[0];
      for (let i = row; i < length; i++) codes[i] += codes[i - row]; /* wraps, as the differences did */
    }
    const none = 2 ** (8 * size) - 1;
    arrays[name] = { codes, shape, none, value: (place) => (codes[place] === none ? null : low + step * codes[place]) };
  }
  return arrays;
}

/* Everything that the other files ask of the data. `info` is the JSON of analysis/map_data.py without its `data`. */
class Model {
  constructor(info, arrays) {
    this.info = info;
    this.arrays = arrays;
    this.frames = info.updates.length;
    this.n = arrays.row.shape[0];
    this.x = this.positions(arrays.x);
    this.y = this.positions(arrays.y);
    this.means = {};
  }

  positions(array) {
    return this.info.updates.map((_, frame) => Float32Array.from({ length: this.n }, (_, i) => array.value(frame * this.n + i)));
  }

  /* The text for reading, in quotes, with what cannot be seen written as escapes; and the text itself. */
  shown(i) { return this.info.shown[i] || "“" + this.info.texts[i] + "”"; }
  plain(i) { return this.info.texts[i]; }

  onMap(i) { return i < this.n; }
  row(i) { return this.arrays.row.codes[i]; }
  count(i) { return this.arrays.count.codes[i]; }
  group(i) { const code = this.arrays.group.codes[i]; return code === this.arrays.group.none ? -1 : code; }
  category(i) { const code = this.arrays.category.codes[i]; return code === this.arrays.category.none ? -1 : code; }
  groupLabel(i) { return this.group(i) < 0 ? "none" : this.info.groups[this.group(i)].label; }

  /* norm, cosine or common over the updates of the courses, null where the row's norm was zero. */
  course(name, i) { return this.info.course_updates.map((_, t) => this.arrays[name].value(t * this.n + i)); }

  /* The same at one of the map's updates. */
  at(name, frame, i) { return this.arrays[name].value(this.info.course_updates.indexOf(this.info.updates[frame]) * this.n + i); }

  /* The mean over all tokens of the map at each update of the courses. */
  mean(name) {
    if (!this.means[name]) {
      this.means[name] = this.info.course_updates.map((_, t) => {
        let sum = 0, known = 0;
        for (let i = 0; i < this.n; i++) {
          const value = this.arrays[name].value(t * this.n + i);
          if (value !== null) { sum += value; known += 1; }
        }
        return known ? sum / known : null;
      });
    }
    return this.means[name];
  }

  /* [[token, cosine], ...] at the m-th update of which neighbours are known. */
  near(m, i) {
    const found = [];
    const k = this.arrays.near.shape[1];
    for (let rank = 0; rank < k; rank++) {
      const place = (m * k + rank) * this.n + i;
      if (this.arrays.near.codes[place] !== this.arrays.near.none) {
        found.push([this.arrays.near.codes[place], this.arrays.near_cosine.value(place)]);
      }
    }
    return found;
  }

  /* Of the updates whose neighbours are known the place of the one closest to the frame's; -1 if there are none. */
  nearPlace(frame) {
    const away = this.info.near_updates.map((update) => Math.abs(update - this.info.updates[frame]));
    return away.indexOf(Math.min(...away));
  }
}

function thousands(number) { return number.toLocaleString("en-US"); }
function digits(value, places) { return value === null ? "none" : value.toFixed(places).replace(/^-(0\.?0*)$/, "$1"); }

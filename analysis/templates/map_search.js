/* Finding tokens by text: exact first, then other case or spaces, then beginnings, then parts; near matches if nothing
   fits. The field is a combobox as ARIA describes it: arrows move through the list, Enter takes a token, Escape closes. */

const OFFERED = 12;

/* Steps from one text to another (insert, delete, replace, swap neighbours), or `most` + 1 where there are more. */
function distance(a, b, most) {
  if (Math.abs(a.length - b.length) > most) return most + 1;
  let before = null;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let steps = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (same ? 0 : 1));
      if (before && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) steps = Math.min(steps, before[j - 2] + 1);
      next.push(steps);
      least = Math.min(least, steps);
    }
    if (least > most) return most + 1;
    before = row;
    row = next;
  }
  return row[b.length];
}

class Finder {
  constructor(model) {
    this.model = model;
    this.bare = Array.from({ length: model.n }, (_, i) => model.plain(i).trim().toLowerCase());
  }

  /* How the token's text differs from what was typed, in words; "" if it does not. */
  difference(i, typed) {
    const text = this.model.plain(i), parts = [];
    if (text.startsWith(" ") !== typed.startsWith(" ")) parts.push(text.startsWith(" ") ? "with leading space" : "without leading space");
    if (text.trim() !== typed.trim()) parts.push("other case");
    return parts.join(", ");
  }

  /* { kind: "exact" | "variants" | "part" | "near" | "none", tokens: [[token, note], ...] }, best first. */
  find(typed) {
    const bare = typed.trim().toLowerCase();
    if (!typed) return { kind: "none", tokens: [] };
    const same = [], begins = [], holds = [];
    for (let i = 0; i < this.model.n; i++) {
      if (bare === "" ? this.model.plain(i) === typed : this.bare[i] === bare) same.push(i);
      else if (bare && this.bare[i].startsWith(bare)) begins.push(i);
      else if (bare.length > 1 && this.bare[i].includes(bare)) holds.push(i);
    }
    /* The text as typed, or where no space was typed with and without one, the more frequent first; then other case. */
    const rank = (i) => {
      const text = this.model.plain(i);
      return text === typed || text === " " + typed ? 0 : text.trim() === typed.trim() ? 1 : 2;
    };
    const frequent = (a, b) => this.model.count(b) - this.model.count(a) || a - b;
    same.sort((a, b) => rank(a) - rank(b) || frequent(a, b));
    const tokens = same.map((i) => [i, this.difference(i, typed)]);
    const more = [...begins.sort(frequent), ...holds.sort(frequent)].map((i) => [i, ""]);
    if (same.length) {
      return { kind: this.model.plain(same[0]) === typed ? "exact" : "variants", tokens: [...tokens, ...more].slice(0, OFFERED), all: same.length + more.length };
    }
    if (more.length) return { kind: "part", tokens: more.slice(0, OFFERED), all: more.length };
    const near = this.near(bare).map((i) => [i, "near match"]);
    return { kind: near.length ? "near" : "none", tokens: near, all: near.length };
  }

  near(bare) {
    if (!bare || bare.length > 60) return [];
    const most = bare.length < 4 ? 1 : bare.length < 8 ? 2 : 3;
    const found = [];
    for (let i = 0; i < this.model.n; i++) {
      const steps = distance(bare, this.bare[i], most);
      if (steps <= most) found.push([steps, i]);
    }
    found.sort((a, b) => a[0] - b[0] || this.model.count(b[1]) - this.model.count(a[1]));
    return found.slice(0, 6).map(([, i]) => i);
  }
}

/* Wire the field to the list. `choose(token)` is called for the token that was taken. */
class Search {
  constructor(model, choose) {
    this.finder = new Finder(model);
    this.model = model;
    this.choose = choose;
    this.input = document.getElementById("search");
    this.list = document.getElementById("suggestions");
    this.status = document.getElementById("search-status");
    this.active = -1;
    this.found = { kind: "none", tokens: [] };
    this.input.addEventListener("input", () => this.offer());
    this.input.addEventListener("focus", () => { if (this.input.value && this.input.value !== this.taken) this.offer(); });
    this.input.addEventListener("blur", () => this.close());
    this.input.addEventListener("keydown", (event) => this.key(event));
    /* The list must not take the focus before the click is done. */
    this.list.addEventListener("mousedown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.take(Number(option.dataset.token));
    });
  }

  offer() {
    this.found = this.finder.find(this.input.value);
    this.active = -1;
    this.list.replaceChildren(...this.found.tokens.map(([i, note], place) => {
      const option = document.createElement("li");
      Object.assign(option, { id: "suggestion-" + place });
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.dataset.token = String(i);
      const text = document.createElement("span");
      text.textContent = this.model.shown(i);
      const side = document.createElement("span");
      side.className = "note";
      side.textContent = [note, thousands(this.model.count(i)) + "×"].filter(Boolean).join(" · ");
      option.append(text, side);
      return option;
    }));
    const open = this.found.tokens.length > 0;
    this.list.hidden = !open;
    this.input.setAttribute("aria-expanded", String(open));
    this.input.removeAttribute("aria-activedescendant");
    this.status.textContent = this.message();
  }

  message() {
    const typed = this.input.value;
    const { kind, tokens, all } = this.found;
    if (!typed) return "";
    const best = tokens.length ? this.model.shown(tokens[0][0]) : "";
    const others = all > 1 ? " " + thousands(all - 1) + " more like it." : "";
    if (kind === "exact") return "Found; Enter shows it." + others;
    if (kind === "variants") return "Found " + best + " (" + tokens[0][1] + "); Enter shows it." + others;
    if (kind === "part") return "Not a token itself; it is part of " + thousands(all) + ". Enter shows " + best + ".";
    if (kind === "near") return "No such token on this map. Near matches: " + tokens.map(([i]) => this.model.shown(i)).join(", ") + ".";
    return "No such token on this map, and nothing like it.";
  }

  key(event) {
    const count = this.found.tokens.length;
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && count) {
      event.preventDefault();
      if (this.list.hidden) this.offer();
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.mark((this.active + step + count + (this.active < 0 && step < 0 ? 1 : 0)) % count);
    } else if (event.key === "Enter") {
      event.preventDefault();
      /* A near match is a guess: it must be chosen with the arrows. */
      const place = this.active >= 0 ? this.active : this.found.kind === "near" ? -1 : 0;
      if (place >= 0 && place < count) this.take(this.found.tokens[place][0]);
    } else if (event.key === "Escape" && !this.list.hidden) {
      event.stopPropagation();
      event.preventDefault();
      this.close();
    }
  }

  mark(place) {
    this.active = place;
    Array.from(this.list.children).forEach((option, at) => option.setAttribute("aria-selected", String(at === place)));
    this.input.setAttribute("aria-activedescendant", "suggestion-" + place);
    this.list.children[place].scrollIntoView({ block: "nearest" });
  }

  take(i) {
    this.input.value = this.model.shown(i).slice(1, -1);
    this.taken = this.input.value;
    this.status.textContent = "Showing " + this.model.shown(i) + ".";
    this.close();
    this.choose(i);
  }

  close() {
    this.list.hidden = true;
    this.active = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
}

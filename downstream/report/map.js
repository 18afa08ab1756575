// The embeddings as a map: one point a clip, coloured and shaped by class.

// Ten colours that keep apart with the common kinds of colour blindness, for light and dark paper; then six shapes.
const HUES = {
  light: ["#0072b2", "#d55e00", "#00916b", "#b5478f", "#9a7b00", "#4b0092", "#3d9bd1", "#8c2d04", "#5a5a5a", "#1a1a1a"],
  dark: ["#56b4e9", "#f5793a", "#2fd0a0", "#e08bc0", "#f0e442", "#b79cff", "#9fd8ff", "#d4886a", "#a8a8a8", "#ffffff"],
};
const SHAPES = [
  (c, r) => c.arc(0, 0, r, 0, 7),
  (c, r) => { c.moveTo(0, -1.25 * r); c.lineTo(1.15 * r, 0.85 * r); c.lineTo(-1.15 * r, 0.85 * r); c.closePath(); },
  (c, r) => c.rect(-0.9 * r, -0.9 * r, 1.8 * r, 1.8 * r),
  (c, r) => { c.moveTo(0, -1.3 * r); c.lineTo(1.3 * r, 0); c.lineTo(0, 1.3 * r); c.lineTo(-1.3 * r, 0); c.closePath(); },
  (c, r) => { c.moveTo(0, 1.25 * r); c.lineTo(1.15 * r, -0.85 * r); c.lineTo(-1.15 * r, -0.85 * r); c.closePath(); },
  (c, r) => { const t = r / 2.6; c.rect(-t, -1.25 * r, 2 * t, 2.5 * r); c.rect(-1.25 * r, -t, 2.5 * r, 2 * t); },
];
// Neighbours in the list differ in colour first; the tenth takes the next shape.
const look = (index) => ({ hue: HUES[isDark() ? "dark" : "light"][index % 10], shape: SHAPES[(index + Math.floor(index / 10)) % SHAPES.length] });
const FULL = 65535;

onOpen(async (view) => {
  const room = $(".map", view);
  if (!room || room.dataset.ready) return;
  room.dataset.ready = "yes";
  const { map: data } = await dataOf(view);
  const choose = $(".choose-map", room);
  choose.append(...data.maps.map((one, index) => make("option", { value: index }, one.entry)));
  new EmbeddingMap(data, choose, $(".map-room", room));
});

class EmbeddingMap {
  constructor(data, choose, room) {
    this.data = data;
    this.sounds = new Map(data.audio);
    this.picked = new Set(); // classes; none means all
    this.canvas = make("canvas", { tabindex: 0, role: "img" });
    this.note = make("p", { class: "note" });
    this.told = make("div", { class: "picked", "aria-live": "polite" });
    this.legend = make("div", { class: "legend", role: "group", "aria-label": "Classes: press one to show it alone" });
    const tool = (text, label, act) => make("button", { type: "button", "aria-label": label, onclick: act }, text);
    const tools = make("div", { class: "map-tools" }, tool("+", "Zoom in", () => this.zoom(1.5)), tool("−", "Zoom out", () => this.zoom(1 / 1.5)), tool("Reset", "Reset the view", () => this.reset()));
    const stage = make("div", {}, make("div", { class: "map-stage" }, this.canvas, tools), this.told, this.note);
    room.append(make("div", { class: "map-grid" }, stage, this.legend));
    choose.addEventListener("change", () => this.open(Number(choose.value)));
    const draw = () => { this.sprites = null; this.fillLegend(); this.draw(); };
    draw.canvas = this.canvas;
    themed.add(draw);
    this.listen();
    this.open(0);
    new ResizeObserver(() => this.resize()).observe(this.canvas.parentElement);
  }

  open(number) {
    const one = this.data.maps[number];
    this.places = new Uint16Array(bytesOf(one.places).buffer);
    this.files = new Uint32Array(bytesOf(one.files).buffer);
    this.labels = new Uint16Array(bytesOf(one.labels).buffer);
    this.count = one.n;
    this.sizes = new Array(this.data.classes.length).fill(0);
    for (const label of this.labels) this.sizes[label] += 1;
    this.current = -1;
    this.told.replaceChildren("Point at a clip to read its name, press it to keep it; with Ctrl the wheel zooms.");
    this.canvas.setAttribute("aria-label", `Map of ${this.count.toLocaleString("en")} clips in ${this.data.classes.length} classes as ${one.entry} embeds them. Arrow keys go from clip to clip, plus and minus zoom.`);
    this.note.textContent = `${this.count.toLocaleString("en")} clips; ${one.method}. Near means alike; distances between groups and their sizes mean little. Files are below ${this.data.root || "/"}.`;
    this.fillLegend();
    this.reset();
  }

  reset() {
    this.view = { x: 0.5, y: 0.5, scale: 1 };
    this.draw();
  }

  zoom(factor, x = 0.5, y = 0.5) {
    const { view } = this, scale = Math.min(60, Math.max(1, view.scale * factor));
    const across = (x - 0.5) / view.scale, up = (0.5 - y) / view.scale;
    view.x += across - (x - 0.5) / scale;
    view.y += up - (0.5 - y) / scale;
    view.scale = scale;
    this.draw();
  }

  resize() {
    const width = Math.round(this.canvas.parentElement.clientWidth), ratio = devicePixelRatio || 1;
    if (!width || (this.width === width && this.ratio === ratio)) return;
    this.width = width;
    this.height = Math.round(Math.min(width, 0.72 * width + 120, 0.8 * innerHeight + 80));
    this.ratio = ratio;
    this.canvas.width = width * ratio;
    this.canvas.height = this.height * ratio;
    this.canvas.style.height = `${this.height}px`;
    this.sprites = null;
    this.draw();
  }

  /** Where point `index` is on the canvas, in CSS pixels. */
  at(index) {
    const side = Math.min(this.width, this.height) - 24, { view } = this;
    const x = (this.places[2 * index] / FULL - view.x) * view.scale, y = (this.places[2 * index + 1] / FULL - view.y) * view.scale;
    return [this.width / 2 + x * side, this.height / 2 - y * side];
  }

  sprite(label) {
    this.sprites ??= new Map();
    if (!this.sprites.has(label)) {
      const radius = (this.count > 5000 ? 2.4 : this.count > 1200 ? 3.1 : 4.2) * this.ratio, size = Math.ceil(4 * radius);
      const canvas = make("canvas", { width: size, height: size }), context = canvas.getContext("2d"), { hue, shape } = look(label);
      context.translate(size / 2, size / 2);
      context.beginPath();
      shape(context, radius);
      context.fillStyle = hue;
      context.fill();
      context.lineWidth = 0.7 * this.ratio;
      context.strokeStyle = css(colour("--raised"), 0.9);
      context.stroke();
      this.sprites.set(label, canvas);
    }
    return this.sprites.get(label);
  }

  draw() {
    if (!this.width) return;
    const context = this.canvas.getContext("2d"), { picked } = this;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.cells = new Map();
    const paint = (index, faded) => {
      const [x, y] = this.at(index);
      if (x < -8 || y < -8 || x > this.width + 8 || y > this.height + 8) return;
      const sprite = this.sprite(this.labels[index]);
      context.globalAlpha = faded ? 0.07 : 0.85;
      context.drawImage(sprite, x * this.ratio - sprite.width / 2, y * this.ratio - sprite.height / 2);
      if (faded) return;
      const cell = `${x >> 4},${y >> 4}`;
      if (!this.cells.has(cell)) this.cells.set(cell, []);
      this.cells.get(cell).push(index);
    };
    if (picked.size) for (let index = 0; index < this.count; index++) if (!picked.has(this.labels[index])) paint(index, true);
    for (let index = 0; index < this.count; index++) if (!picked.size || picked.has(this.labels[index])) paint(index, false);
    context.globalAlpha = 1;
    if (this.current >= 0) {
      const [x, y] = this.at(this.current);
      context.beginPath();
      context.arc(x * this.ratio, y * this.ratio, 9 * this.ratio, 0, 7);
      context.lineWidth = 2 * this.ratio;
      context.strokeStyle = css(colour("--ink"));
      context.stroke();
    }
    this.canvas.dataset.drawn = this.count;
  }

  near(x, y) {
    let best = -1, least = 14 ** 2;
    for (let column = (x >> 4) - 1; column <= (x >> 4) + 1; column++) {
      for (let row = (y >> 4) - 1; row <= (y >> 4) + 1; row++) {
        for (const index of this.cells?.get(`${column},${row}`) ?? []) {
          const [px, py] = this.at(index), distance = (px - x) ** 2 + (py - y) ** 2;
          if (distance < least) [best, least] = [index, distance];
        }
      }
    }
    return best;
  }

  words(index) {
    return `${this.data.classes[this.labels[index]]} · ${this.data.files[this.files[index]]}`;
  }

  pick(index) {
    this.current = index;
    const name = this.data.files[this.files[index]];
    const sound = player(this.sounds.get(this.files[index]), name);
    this.told.replaceChildren(make("b", {}, this.data.classes[this.labels[index]]), ` ${name}`, ...(sound ? [sound] : []));
    this.draw();
  }

  /** The nearest point that lies mostly to one side of the current one. */
  step(dx, dy) {
    if (this.current < 0) return this.pick(0);
    const [x, y] = this.at(this.current);
    let best = -1, least = Infinity;
    for (let index = 0; index < this.count; index++) {
      if (index === this.current || (this.picked.size && !this.picked.has(this.labels[index]))) continue;
      const [px, py] = this.at(index), ahead = (px - x) * dx + (py - y) * dy, aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (ahead <= 0 || aside > ahead) continue;
      const cost = ahead + 2 * aside;
      if (cost < least) [best, least] = [index, cost];
    }
    if (best >= 0) this.pick(best);
  }

  listen() {
    const { canvas } = this;
    let held = null, moved = false;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    canvas.addEventListener("pointerdown", (event) => { held = place(event); moved = false; });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      if (held && event.buttons && event.pointerType === "mouse") {
        const side = Math.min(this.width, this.height) - 24;
        if (Math.hypot(x - held[0], y - held[1]) > 3) moved = true;
        this.view.x -= (x - held[0]) / side / this.view.scale;
        this.view.y += (y - held[1]) / side / this.view.scale;
        held = [x, y];
        return this.draw();
      }
      const index = this.near(x, y);
      showTip(index < 0 ? "" : this.words(index), event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerup", (event) => {
      held = null;
      const index = moved ? -1 : this.near(...place(event));
      if (index >= 0) this.pick(index);
    });
    canvas.addEventListener("pointerleave", () => { held = null; showTip(""); });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      const [x, y] = place(event), side = Math.min(this.width, this.height) - 24;
      this.zoom(Math.exp(-event.deltaY / 300), 0.5 + (x - this.width / 2) / side, 0.5 + (y - this.height / 2) / side);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (ways[event.key]) this.step(...ways[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(1.5);
      else if (event.key === "-") this.zoom(1 / 1.5);
      else if (event.key === "0") this.reset();
      else return;
      event.preventDefault();
    });
  }

  fillLegend() {
    const search = this.search ??= make("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class", oninput: () => this.filter() });
    const buttons = this.data.classes.map((name, label) => ({ name, label })).filter(({ label }) => this.sizes[label]).map(({ name, label }) => {
      const picture = make("canvas", { width: 28, height: 28, style: "width:14px;height:14px;flex:none", "aria-hidden": "true" }), context = picture.getContext("2d"), { hue, shape } = look(label);
      context.translate(14, 14);
      context.beginPath();
      shape(context, 9);
      context.fillStyle = hue;
      context.fill();
      const button = make("button", { type: "button", "aria-pressed": String(this.picked.has(label)), onclick: () => {
        if (this.picked.has(label)) this.picked.delete(label);
        else this.picked.add(label);
        button.setAttribute("aria-pressed", String(this.picked.has(label)));
        this.draw();
      } }, picture, make("i", {}, name), make("span", { class: "faint" }, String(this.sizes[label])));
      button.dataset.name = name.toLowerCase();
      return button;
    });
    const all = make("button", { type: "button", onclick: () => { this.picked.clear(); this.fillLegend(); this.draw(); } }, make("i", {}, "Show all"));
    const again = buttons.length > 60 ? make("p", { class: "note" }, "Looks repeat after 60 classes; press or search for one to tell it apart.") : null;
    this.legend.replaceChildren(...[buttons.length > 12 ? search : null, again, all, ...buttons].filter(Boolean));
    this.filter();
  }

  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    for (const button of $$("button[data-name]", this.legend)) button.hidden = !button.dataset.name.includes(wanted);
  }
}

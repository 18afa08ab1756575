// Behind a score: confusions, scores by class, calibration, hardest clips.

const MOST_IN_TABLE = 30; // classes; a larger matrix is a picture

onOpen(async (view) => {
  const room = $(".details", view);
  if (!room || room.dataset.ready) return;
  room.dataset.ready = "yes";
  const data = await dataOf(view);
  const choose = $(".choose-result", room);
  if (!data.results.length) return room.remove();
  choose.append(...data.results.map((result, index) => make("option", { value: index }, result.title)));
  const show = () => {
    const panels = $(".panels", room);
    themed.forEach((draw) => panels.contains(draw.canvas) && themed.delete(draw));
    const result = data.results[choose.value];
    const parts = [perClass(data, result), calibration(data, result), hardest(data, result)];
    if (result.confusion) parts.splice(0, 1, confusion(data, result), parts[0], errorsOf(data, result));
    panels.replaceChildren(...parts);
  };
  choose.addEventListener("change", show);
  show();
});

const panel = (title, note, ...children) =>
  make("section", { class: "panel" }, make("h3", {}, title), note ? make("p", { class: "note" }, note) : null, ...children);

function confusion(data, result) {
  const names = data.classes, support = result.classes.support;
  const share = (row, count) => (support[row] ? count / support[row] : 0);
  const words = ([row, column, count]) => {
    const of = `${+count.toFixed(1)} of ${support[row]} (${percent(share(row, count))} %)`;
    return row === column ? `${names[row]}: ${of} right` : `${names[row]} taken for ${names[column]}: ${of}`;
  };
  const seeds = result.seeds > 1 ? ` Mean of ${result.seeds} seeds.` : "";
  const drawn = names.length > MOST_IN_TABLE ? matrixPicture(names, result.confusion, share, words) : matrixTable(names, result.confusion, share, words);
  const found = panel("Confusion matrix", `Rows are true classes, columns predictions; shades are shares of the row${names.length > MOST_IN_TABLE ? " (square root). Point at a cell to read it." : "."}${seeds}`, drawn);
  found.classList.add(names.length > 14 && names.length <= MOST_IN_TABLE ? "wide" : "narrow");
  return found;
}

function errorsOf(data, result) {
  const names = data.classes, support = result.classes.support;
  const errors = result.confusion.filter(([row, column]) => row !== column).sort((a, b) => b[2] - a[2]).slice(0, 30);
  const rows = errors.map(([row, column, count]) => [names[row], names[column], +count.toFixed(1), count / support[row]]);
  const heads = ["true class", "taken for", "clips", "of the class %"];
  return panel("Most frequent confusions", null, table("The errors that occur most", heads, rows, { shares: [3], texts: [0, 1] }));
}

function matrixTable(names, counts, share, words) {
  const found = new Map(counts.map((count) => [`${count[0]},${count[1]}`, count]));
  const head = make("tr", {}, make("td", {}, "true ↓ predicted →"), ...names.map((name) => make("th", { scope: "col", title: name }, make("span", {}, name))));
  const rows = names.map((name, row) =>
    make("tr", {}, make("th", { scope: "row", title: name }, name), ...names.map((_, column) => {
      const count = found.get(`${row},${column}`) ?? [row, column, 0];
      const part = share(row, count[2]);
      const kind = ["cell", row === column && "same", !count[2] && "zero"].filter(Boolean).join(" ");
      const text = Number.isInteger(count[2]) ? count[2] : count[2].toFixed(1);
      return make("td", { class: kind, "data-share": part, title: count[2] ? words(count) : undefined }, String(text));
    })));
  const whole = make("table", { class: "matrix" }, make("caption", { class: "unseen" }, "Confusion matrix"), make("thead", {}, head), make("tbody", {}, ...rows));
  const draw = () => {
    const empty = colour("--shade"), full = colour("--accent");
    for (const cell of $$("td.cell", whole)) {
      const shade = mixed(empty, full, Number(cell.dataset.share));
      cell.style.background = css(shade);
      if (Number(cell.dataset.share)) cell.style.color = luminance(shade) < 0.179 ? "#fff" : "#000";
    }
  };
  draw.canvas = whole;
  themed.add(draw);
  draw();
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion matrix" }, whole);
}

/** Relative luminance; black and white contrast alike with 0.179. */
function luminance(parts) {
  const [red, green, blue] = parts.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function matrixPicture(names, counts, share, words) {
  const size = names.length, cell = Math.max(1, Math.floor(720 / size));
  const label = `Confusion matrix of ${size} classes; the table below lists the most frequent confusions. Arrow keys move over it.`;
  const canvas = make("canvas", { class: "matrix-canvas", width: size * cell, height: size * cell, tabindex: 0, role: "img", "aria-label": label });
  const found = new Map(counts.map((count) => [count[0] * size + count[1], count]));
  const draw = () => {
    const context = canvas.getContext("2d"), empty = colour("--shade"), full = colour("--accent");
    context.fillStyle = css(empty);
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (const [row, column, count] of counts) {
      // The square root shows rare confusions too.
      context.fillStyle = css(mixed(empty, full, Math.sqrt(share(row, count))));
      context.fillRect(column * cell, row * cell, cell, cell);
    }
  };
  draw.canvas = canvas;
  themed.add(draw);
  draw();
  const tell = (row, column, x, y) => {
    const count = found.get(row * size + column);
    showTip(count ? words(count) : `${names[row]} taken for ${names[column]}: never`, x, y);
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * size), row = Math.floor(((event.clientY - box.top) / box.height) * size);
    if (names[row] !== undefined && names[column] !== undefined) tell(row, column, event.clientX, event.clientY);
  });
  canvas.addEventListener("pointerleave", () => showTip(""));
  canvas.addEventListener("blur", () => showTip(""));
  const cursor = [0, 0];
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    for (const axis of [0, 1]) cursor[axis] = Math.max(0, Math.min(size - 1, cursor[axis] + step[axis]));
    const box = canvas.getBoundingClientRect();
    tell(cursor[0], cursor[1], box.left + ((cursor[1] + 0.5) / size) * box.width, box.top + ((cursor[0] + 0.5) / size) * box.height);
  });
  return canvas;
}

/** A table whose columns sort when their heads are pressed; the first column is names. */
function table(title, heads, rows, options = {}) {
  const body = make("tbody");
  const fill = (ordered) =>
    body.replaceChildren(...ordered.map((row) => make("tr", {}, ...row.map((value, column) => {
      const meter = options.meter === column && typeof value === "number";
      const text = value === null ? "–" : options.shares?.includes(column) ? percent(value) : String(value);
      const bar = meter ? make("span", { class: "meter", "aria-hidden": "true" }, make("i", { style: `--v:${(100 * value).toFixed(1)}` })) : null;
      return column ? make("td", { class: options.texts?.includes(column) ? "" : "n" }, text, bar) : make("th", { scope: "row" }, text);
    }))));
  const cells = heads.map((head, column) => {
    if (!options.sortable) return make("th", { scope: "col", class: column && !options.texts?.includes(column) ? "n" : "" }, head);
    const cell = make("th", { scope: "col", class: column ? "n" : "" });
    cell.append(make("button", { type: "button", onclick: () => {
      const down = cell.getAttribute("aria-sort") !== "descending";
      for (const other of cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => (typeof a === "string" ? b.localeCompare(a) : (b ?? -1) - (a ?? -1));
      fill([...rows].sort((a, b) => (down ? 1 : -1) * order(a[column], b[column])));
    } }, head));
    return cell;
  });
  fill(rows);
  const whole = make("table", { class: "slim" }, make("caption", { class: "unseen" }, title), make("thead", {}, make("tr", {}, ...cells)), body);
  return make("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": title }, whole);
}

function perClass(data, result) {
  const found = result.classes, several = Boolean(found.ap);
  const columns = several ? [found.ap, found.auc] : [found.f1, found.precision, found.recall];
  const heads = several ? ["AP %", "ROC AUC %"] : ["F1 %", "precision %", "recall %"];
  const rows = data.classes.map((name, index) => [name, found.support[index], ...columns.map((column) => column[index])]);
  rows.sort((a, b) => (a[2] ?? 2) - (b[2] ?? 2));
  const options = { sortable: true, shares: heads.map((_, index) => index + 2), meter: 2 };
  const note = `${result.clips.toLocaleString("en")} test clips, the weakest classes first; press a head to sort.`;
  return panel("Scores by class", note, table(`Scores of ${rows.length} classes`, ["class", "clips", ...heads], rows, options));
}

function calibration(data, result) {
  const several = Boolean(result.classes.ap);
  const size = 300, left = 44, top = 10, bins = result.calibration, most = Math.max(...bins.map((bin) => (bin ? bin[0] : 0)));
  const total = bins.reduce((sum, bin) => sum + (bin ? bin[0] : 0), 0);
  const x = (value) => left + value * size, y = (value) => top + (1 - value) * size;
  const label = `Reliability diagram: ${several ? "share of labels that are there" : "accuracy"} against mean probability in 15 bins`;
  const drawing = makeSvg("svg", { viewBox: `0 0 ${left + size + 16} ${top + size + 84}`, role: "img", "aria-label": label, class: "diagram c0", style: "max-width:22rem" });
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    drawing.append(makeSvg("line", { x1: x(0), x2: x(1), y1: y(tick), y2: y(tick), class: "grid" }));
    drawing.append(makeSvg("text", { x: x(0) - 8, y: y(tick) + 4, "text-anchor": "end" }, String(100 * tick)));
    drawing.append(makeSvg("text", { x: x(tick), y: y(0) + 16, "text-anchor": "middle" }, String(100 * tick)));
  }
  drawing.append(makeSvg("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "ideal" }));
  const known = bins.filter(Boolean);
  drawing.append(makeSvg("polyline", { points: known.map((bin) => `${x(bin[1])},${y(bin[2])}`).join(" "), class: "line" }));
  bins.forEach((bin, index) => {
    if (!bin) return;
    drawing.append(makeSvg("line", { x1: x(bin[1]), x2: x(bin[1]), y1: y(bin[1]), y2: y(bin[2]), class: "line", style: "opacity:.35" }));
    drawing.append(makeSvg("circle", { cx: x(bin[1]), cy: y(bin[2]), r: 2.5 + 4 * Math.sqrt(bin[0] / most), class: "mark" }));
    const height = 34 * Math.sqrt(bin[0] / most);
    drawing.append(makeSvg("rect", { x: x(index / 15) + 1, width: size / 15 - 2, y: y(0) + 62 - height, height, class: "band", style: "opacity:.45" }));
  });
  drawing.append(makeSvg("text", { x: x(0.5), y: y(0) + 78, "text-anchor": "middle" }, "mean probability, %"));
  const gap = known.reduce((sum, bin) => sum + (bin[0] / total) * Math.abs(bin[1] - bin[2]), 0);
  const note = several
    ? "Each label of each clip: its probability against how often it is there."
    : "The predicted class's probability against how often it is right; below the diagonal is too sure. Bars say how many (square root).";
  const pooled = `Expected calibration error ${percent(gap)} %, folds and seeds pooled; the table's is the mean over folds and seeds.`;
  const rows = bins.map((bin, index) => (bin ? [`${percent(index / 15)}–${percent((index + 1) / 15)}`, +bin[0].toFixed(1), bin[1], bin[2]] : null)).filter(Boolean);
  const numbers = make("details", {}, make("summary", {}, "The numbers"), table("Calibration by bin", ["probability, %", "count", "mean probability %", several ? "there %" : "right %"], rows, { shares: [2, 3] }));
  return panel("Calibration", `${note} ${pooled}`, drawing, numbers);
}

function hardest(data, result) {
  const names = data.classes;
  const clips = result.hardest.map(({ clip, truth, top, loss }) => {
    const { name, section, audio } = data.clips[clip];
    const guesses = top.map(([index, share]) => `${names[index]} (${Math.round(100 * share)} %)`).join(", ");
    const from = section ? ` ${section[0]}–${section[1]} s` : "";
    const sound = player(audio, name);
    return make("li", {},
      make("b", {}, truth.map((index) => names[index]).join(", ") || "no label"), ` – heard as ${guesses}; `,
      make("span", { class: "faint" }, `loss ${loss.toFixed(1)}`),
      make("span", { class: "name" }, name + from), sound);
  });
  const silent = result.hardest.some(({ clip }) => data.clips[clip].audio < 0);
  const note = `Test clips with the highest loss. ${data.audioNote}${silent && data.audioNote === "" ? "Some files could not be embedded." : ""} Files are below ${data.root || "/"}.`;
  const found = panel("Hardest clips", note, make("ul", { class: "clips" }, ...clips));
  found.classList.add("wide");
  return found;
}

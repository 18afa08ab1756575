"use strict";
// What every part of the page uses: elements, data, colours, and which view is shown.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** An element with properties and children; text is always text, whatever it looks like. */
function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") element.style.cssText = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function makeSvg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1));

/** A task's data, unpacked when it is first looked at. */
const unpacked = new Map();
function dataOf(view) {
  if (!unpacked.has(view)) {
    const stream = new Blob([bytesOf($("script.data", view).textContent)]).stream();
    unpacked.set(view, new Response(stream.pipeThrough(new DecompressionStream("gzip"))).json());
  }
  return unpacked.get(view);
}

let sounds = null;
function player(number, name) {
  if (number === undefined || number === null || number < 0) return null;
  sounds ??= JSON.parse($("#audio").textContent);
  return make("audio", { controls: true, preload: "none", src: sounds[number], "aria-label": `Play ${name}` });
}

/** A colour of the style sheet as it is now: [red, green, blue]. */
const probe = document.body.appendChild(make("span", { hidden: true }));
function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
}
const css = ([red, green, blue], opacity = 1) => `rgb(${red} ${green} ${blue} / ${opacity})`;
const mixed = (from, to, share) => from.map((value, index) => Math.round(value + (to[index] - value) * share));

const tip = $("#tip");
function showTip(text, x, y) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18}px`;
}

// Colours: the system's, until the reader chooses.
const themed = new Set();
const redraw = () => themed.forEach((draw) => draw());
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  $("#theme").setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  redraw();
}
const remember = (theme) => {
  try {
    return theme ? localStorage.setItem("byol-a-theme", theme) : localStorage.getItem("byol-a-theme");
  } catch {
    return null; // a page opened from a file may have no storage
  }
};
$("#theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  remember(theme);
  setTheme(theme);
});
dark.addEventListener("change", () => setTheme());

// One view at a time, by the address: #/ is the leaderboard, #/esc50 a task.
const views = $$(".view");
const opened = [];
const onOpen = (draw) => opened.push(draw);
function route(event) {
  const wanted = location.hash.replace(/^#\/?/, "");
  const shown = views.find((view) => view.dataset.view === wanted) ?? views[0];
  for (const view of views) view.hidden = view !== shown;
  for (const link of $$("nav a")) {
    const here = link.getAttribute("href") === `#/${shown.dataset.view}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const home = $(".home").textContent;
  document.title = shown === views[0] ? home : `${shown.dataset.title} · ${home}`;
  for (const menu of $$(".menu")) menu.open = false;
  for (const audio of $$("audio")) audio.pause();
  showTip("");
  if (event) {
    scrollTo(0, 0);
    $("h1", shown)?.focus({ preventScroll: true });
  }
  for (const draw of opened) draw(shown);
}

// The leaderboard's protocol and probe.
const boards = $$(".board");
const protocols = $("#choose-protocol"), probes = $("#choose-probe");
function showBoard() {
  for (const board of boards) board.hidden = board.dataset.board !== probes.value;
}
if (protocols) {
  const options = [...probes.options];
  const offer = () => {
    probes.replaceChildren(...options.filter((option) => option.dataset.protocol === protocols.value));
    probes.selectedIndex = 0;
    showBoard();
  };
  protocols.addEventListener("change", offer);
  probes.addEventListener("change", showBoard);
  offer();
}

for (const button of $$(".copy")) {
  button.addEventListener("click", async () => {
    const code = $("code", button.parentElement);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The report's style and script, which stand in the page itself.
#include <string_view>

namespace programs {

inline constexpr std::string_view report_style = R"css(
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #fff; --line: #dddcd8; --text: #1c1d1f; --soft: #5c5f66; --accent: #0b63b5; --good: #14713d;
  --faint: #9dc0e3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141518; --card: #1d1f23; --line: #363a41; --text: #eceded; --soft: #a6abb4; --accent: #6db3f7;
    --good: #6cd097; --faint: #35587c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 40px 24px 64px; max-width: 1104px; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -.015em; text-wrap: balance; }
h2 { margin: 0; font-size: 1.3rem; line-height: 1.3; letter-spacing: -.005em; }
h3 { font-size: 1rem; }
p { margin: 0; }
a { color: var(--accent); }
section { margin-top: 48px; }
.soft { color: var(--soft); font-size: .9rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }

.live {
  display: flex; align-items: center; gap: 12px; flex-wrap: wrap; margin-top: 16px; padding: 8px 8px 8px 14px;
  width: fit-content; border: 1px solid var(--line); border-radius: 10px; background: var(--card); font-size: .95rem;
}
.live::before { content: ""; width: 10px; height: 10px; border-radius: 50%; background: var(--good); }
:root:not(.js) .live button { display: none; }
.live button {
  padding: 5px 14px; border: 1px solid var(--line); border-radius: 7px; background: none; color: var(--accent);
  font: inherit; font-weight: 600; cursor: pointer;
}
@media (prefers-reduced-motion: no-preference) {
  .live:not(.paused)::before { animation: pulse 1.6s ease-in-out infinite; }
  @keyframes pulse { 50% { opacity: .25; } }
}

.facts { display: flex; flex-wrap: wrap; gap: 16px 48px; margin: 28px 0 0; }
.facts div { display: flex; flex-direction: column; }
.facts dt { color: var(--soft); font-size: .9rem; }
.facts dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3; letter-spacing: -.01em; }
.facts dd.first { color: var(--good); }
.facts small { font-size: .9rem; font-weight: 400; letter-spacing: 0; color: var(--soft); }

.controls { display: none; flex-wrap: wrap; gap: 10px 24px; justify-content: space-between; margin: 14px 0; }
.js .controls { display: flex; }
fieldset { display: flex; flex-wrap: wrap; margin: 0; padding: 3px; border: 1px solid var(--line); border-radius: 10px; min-width: 0;
  background: var(--card); }
fieldset label { position: relative; cursor: pointer; }
fieldset input { position: absolute; opacity: 0; inset: 0; margin: 0; cursor: pointer; }
fieldset span { display: block; padding: 5px 12px; border-radius: 7px; font-size: .9rem; line-height: 1.4; white-space: nowrap; }
fieldset input:checked + span { background: var(--accent); color: var(--page); font-weight: 600; }
fieldset input:focus-visible + span { outline: 3px solid var(--accent); outline-offset: 2px; }

.viewport { display: flex; flex-wrap: wrap; gap: 8px; }
.viewport img { display: block; max-width: 100%; height: auto; }
.frame { position: relative; }
.tag, .slider { display: none; }
.js .frame {
  margin: 0 auto; overflow: hidden; border-radius: 8px; background: var(--line); box-shadow: 0 0 0 1px var(--line);
}
.js .viewport { display: block; width: 100%; height: 100%; overflow: auto; scrollbar-width: thin; cursor: pointer; }
.js .viewport.wide { cursor: grab; }
.js .viewport:focus-visible { outline-offset: -3px; }
.js .stage { position: relative; overflow: hidden; }
.js .stage img { position: absolute; inset: 0; width: 100%; height: 100%; max-width: none; visibility: hidden;
  user-select: none; -webkit-user-drag: none; }
.js .stage.pixels img { image-rendering: pixelated; }
.js .stage img.under, .js .stage img.over { visibility: visible; }
.js .stage img.over { z-index: 1; }
.js .tag {
  display: block; position: absolute; z-index: 2; top: 10px; padding: 2px 10px; border-radius: 6px; max-width: 46%;
  background: #000b; color: #fff; font-size: .85rem; pointer-events: none;
}
.tag.left { left: 10px; }
.tag.right { right: 10px; }
.tag:empty { display: none !important; }
.tag.alone { max-width: calc(100% - 20px); }

/* The slider lies over the whole frame and lets everything through but its thumb, which is the divider. */
.js .slider {
  display: block; position: absolute; z-index: 3; top: 0; left: -22px; width: calc(100% + 44px); height: 100%;
  margin: 0; background: none; pointer-events: none; -webkit-appearance: none; appearance: none; outline: none;
}
.js .slider[hidden] { display: none; }
.slider::-webkit-slider-runnable-track { height: 100%; background: none; }
.slider::-moz-range-track { height: 100%; background: none; }
.slider::-webkit-slider-thumb {
  -webkit-appearance: none; width: 44px; height: 100%; border: 0; pointer-events: auto; cursor: ew-resize;
  background: var(--thumb);
}
.slider::-moz-range-thumb {
  width: 44px; height: 100%; border: 0; border-radius: 0; pointer-events: auto; cursor: ew-resize;
  background: var(--thumb);
}
.slider {
  --grip: #fff; --mark: #1c1d1f;
  --thumb:
    conic-gradient(from 225deg at 100% 50%, var(--mark) 90deg, #0000 0) calc(50% + 9px) 50% / 7px 14px no-repeat,
    conic-gradient(from 45deg at 0 50%, var(--mark) 90deg, #0000 0) calc(50% - 9px) 50% / 7px 14px no-repeat,
    radial-gradient(circle closest-side, var(--grip) 90%, #0006 94%, #0000) center / 40px 40px no-repeat,
    linear-gradient(90deg, #0005 1px, var(--grip) 1px 3px, #0005 3px) center / 4px 100% no-repeat;
}
.slider:focus-visible { --grip: var(--accent); --mark: var(--page); }
.frame:has(.slider:focus-visible) { outline: 3px solid var(--accent); outline-offset: 3px; }

.comparison + .scores { margin-top: 16px; }
.part { margin: 28px 0 0; }
.comparison .note { margin-top: 8px; }
table { border-collapse: collapse; font-size: .95rem; }
th, td { padding: 5px 0 5px 28px; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--soft); font-weight: 400; font-size: .9rem; }
th { font-weight: 400; }
.gain, tfoot th, tfoot td { font-weight: 600; }
.gain td { color: var(--good); }
.pictures { width: 100%; margin-top: 16px; }
.pictures td, .pictures thead th { white-space: nowrap; }
.pictures th:first-child { min-width: 9rem; }
.scroll { overflow-x: auto; }

.charts, .tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 32px 40px; }
figure { margin: 16px 0 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .95rem; }
svg { display: block; width: 100%; height: auto; margin-top: 8px; }
svg text { fill: var(--soft); font-size: 13px; }
svg .note { fill: var(--text); font-weight: 600; }
svg path { fill: none; stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
svg .axis, svg .tick { stroke: var(--soft); }
svg .faint { stroke: var(--faint); stroke-width: 1.25; }
svg .strong { stroke: var(--accent); stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
svg circle { fill: var(--accent); }

.settings { width: 100%; table-layout: fixed; margin-top: 8px; }
.settings th { width: 40%; color: var(--soft); }
.settings td { text-align: left; padding-left: 16px; }
details { margin-top: 48px; border-top: 1px solid var(--line); padding-top: 16px; }
summary { cursor: pointer; font-weight: 600; }
details dl { max-width: 44rem; }
details dt { margin-top: 10px; font-weight: 600; font-size: .95rem; }
details dd { margin: 0; }

@media (max-width: 600px) {
  body { padding: 24px 16px 48px; }
  h1 { font-size: 1.6rem; }
  section { margin-top: 40px; }
  .facts { gap: 14px 32px; margin-top: 22px; }
  .facts dd { font-size: 1.3rem; }
  fieldset span { padding: 8px 7px; font-size: .82rem; }
  th, td { padding-left: 18px; }
  svg text { font-size: 17px; }
}
@media print { .controls, .live { display: none !important; } }
)css";

inline constexpr std::string_view report_script = R"js(
"use strict";
(() => {
  const root = document.documentElement;

  // What the reader has set stays across reloads with the entry in the browser's history; files may be refused that.
  let kept = {};
  try { kept = history.state || {}; } catch {}
  const keep = () => { try { history.replaceState(kept, ""); } catch {} };

  const views = [["noisy", "denoised"], ["clean", "denoised"], ["residual"]];

  class Comparison {
    constructor(element) {
      this.key = element.id;
      this.find = (selector) => element.querySelector(selector);
      this.column = element;
      this.frame = this.find(".frame");
      this.viewport = this.find(".viewport");
      this.stage = this.find(".stage");
      this.slider = this.find(".slider");
      this.width = Number(this.stage.dataset.width);
      this.height = Number(this.stage.dataset.height);
      this.restore(kept[this.key] || {});
      for (const radio of element.querySelectorAll("fieldset input")) radio.addEventListener("change", () => this.show());
      this.slider.addEventListener("input", () => this.divide());
      this.viewport.addEventListener("scroll", () => this.divide(), { passive: true });
      this.listenToPointer();
      this.show();
      this.viewport.scrollTo(this.scroll[0], this.scroll[1]);
    }

    restore(state) {
      this.slider.value = state.position ?? 500;
      this.scroll = state.scroll || [0, 0];
      for (const name of ["view", "zoom"]) {
        const radio = state[name] && this.find(`input[data-choice=${name}][value="${state[name]}"]`);
        if (radio) radio.checked = true;
      }
    }

    chosen(name) { return this.find(`input[data-choice=${name}]:checked`).value; }

    // A click puts the divider there; with a mouse, a picture larger than its frame is dragged.
    listenToPointer() {
      let from = null;
      this.viewport.addEventListener("pointerdown", (e) => {
        if (e.target === this.viewport) return;  // its scroll bar
        from = { x: e.clientX, y: e.clientY, left: this.viewport.scrollLeft, top: this.viewport.scrollTop, moved: false };
        if (e.pointerType === "mouse") this.viewport.setPointerCapture(e.pointerId);
      });
      this.viewport.addEventListener("pointermove", (e) => {
        if (!from) return;
        const x = e.clientX - from.x, y = e.clientY - from.y;
        from.moved ||= Math.hypot(x, y) > 4;
        if (from.moved && e.pointerType === "mouse") this.viewport.scrollTo(from.left - x, from.top - y);
      });
      this.viewport.addEventListener("pointerup", (e) => {
        if (from && !from.moved && !this.slider.hidden) {
          const box = this.frame.getBoundingClientRect();
          this.slider.value = 1000 * (e.clientX - box.left) / box.width;
          this.divide();
        }
        from = null;
      });
      this.viewport.addEventListener("pointercancel", () => { from = null; });
    }

    // Whole screen pixels for each of the picture's where there are at least two, so that all look alike.
    fit() {
      const dots = window.devicePixelRatio || 1;
      const room = Math.min(this.column.clientWidth / this.width, 0.8 * window.innerHeight / this.height);
      const scale = Math.min(room, 16);
      return scale * dots >= 2 ? Math.floor(scale * dots) / dots : scale;
    }

    show() {
      const zoom = this.chosen("zoom"), scale = zoom === "fit" ? this.fit() : Number(zoom);
      const width = this.width * scale, height = this.height * scale;
      const wide = Math.min(width, this.column.clientWidth), high = Math.min(height, 0.8 * window.innerHeight);
      const middle = this.scale ? [this.viewport.scrollLeft + this.frame.clientWidth / 2,
        this.viewport.scrollTop + this.frame.clientHeight / 2].map((v) => v / this.scale) : [this.width / 2, this.height / 2];
      this.frame.style.width = `${wide}px`;
      this.frame.style.height = `${high}px`;
      this.stage.style.width = `${width}px`;
      this.stage.style.height = `${height}px`;
      this.stage.classList.toggle("pixels", scale * (window.devicePixelRatio || 1) >= 1.99);
      const larger = width > wide + 1 || height > high + 1;
      this.viewport.classList.toggle("wide", larger);
      this.viewport.style.overflow = larger ? "auto" : "hidden";
      this.viewport.tabIndex = larger ? 0 : -1;
      if (scale !== this.scale) this.viewport.scrollTo(middle[0] * scale - wide / 2, middle[1] * scale - high / 2);
      this.scale = scale;
      this.choose(views[Number(this.chosen("view"))]);
      this.divide();
    }

    choose([under, over]) {
      for (const image of this.stage.children) {
        image.classList.toggle("under", image.dataset.layer === under);
        image.classList.toggle("over", image.dataset.layer === over);
        image.style.clipPath = "";
      }
      const label = (layer) => layer ? this.find(`img[data-layer=${layer}]`).dataset.label : "";
      this.find(".tag.left").textContent = label(under);
      this.find(".tag.left").classList.toggle("alone", !over);
      this.find(".tag.right").textContent = label(over);
      this.slider.hidden = !over;
      this.slider.setAttribute("aria-label", over ? `Divider: ${label(under)} to its left, ${label(over)} to its right` : "");
    }

    divide() {
      const part = this.slider.value / 1000;
      const over = this.find("img.over");
      if (over) over.style.clipPath = `inset(0 0 0 ${this.viewport.scrollLeft + part * this.frame.clientWidth}px)`;
      this.slider.setAttribute("aria-valuetext", `${Math.round(100 * part)} %`);
      kept[this.key] = { position: this.slider.value, view: this.chosen("view"), zoom: this.chosen("zoom"),
        scroll: [this.viewport.scrollLeft, this.viewport.scrollTop] };
    }
  }

  const comparisons = [...document.querySelectorAll(".comparison")].map((element) => new Comparison(element));
  window.addEventListener("resize", () => comparisons.forEach((c) => c.show()));

  const live = document.querySelector(".live");
  if (live) {
    const button = live.querySelector("button");
    let pressed = false;
    for (const type of ["pointerdown", "pointerup", "pointercancel"]) {
      window.addEventListener(type, () => { pressed = type === "pointerdown"; }, true);
    }
    const update = () => {
      live.classList.toggle("paused", Boolean(kept.paused));
      live.querySelector("span").textContent = kept.paused ? live.dataset.paused : live.dataset.running;
      button.textContent = kept.paused ? "Go on" : "Pause";
    };
    button.addEventListener("click", () => { kept.paused = !kept.paused; update(); });
    update();
    window.setInterval(() => {
      if (kept.paused || pressed) return;
      kept.top = window.scrollY;
      kept.focus = document.activeElement ? document.activeElement.id : "";
      keep();
      location.reload();
    }, 5000);
  }
  const explanations = document.querySelector("details");
  if (explanations) {
    explanations.open = Boolean(kept.open);
    explanations.addEventListener("toggle", () => { kept.open = explanations.open; });
  }
  window.addEventListener("pagehide", () => { kept.top = window.scrollY; keep(); });
  if (kept.top !== undefined) window.scrollTo(0, kept.top);
  if (kept.focus) document.getElementById(kept.focus)?.focus({ preventScroll: true });
  root.dataset.ready = String(comparisons.length);
})();
)js";

}  // namespace programs

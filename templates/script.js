"use strict";
// Everything here is comfort: without it the page shows all that it has.
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const byId = (id) => document.getElementById(id);
  document.documentElement.classList.add("on");

  // Rows of a chart close up where others are hidden.
  const closeUp = () => {
    for (const svg of all("svg")) {
      if (svg.getClientRects().length === 0) continue;
      let gone = 0;
      for (const band of all(".band", svg)) {
        if (getComputedStyle(band).display === "none") gone += Number(band.dataset.h);
        else band.style.transform = gone ? `translateY(${-gone}px)` : "";
      }
      const foot = svg.querySelector(".foot");
      if (foot) foot.style.transform = gone ? `translateY(${-gone}px)` : "";
      const box = (svg.dataset.box ||= svg.getAttribute("viewBox")).split(" ");
      svg.setAttribute("viewBox", `0 0 ${box[2]} ${box[3] - gone}`);
      svg.style.overflow = gone ? "hidden" : "";
    }
  };

  // What is shown is in the address, so that a view can be sent to somebody.
  const kinds = { b: "#tools input[id^=b]", w: "#tools input[id^=w]" };
  const read = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const [key, query] of Object.entries(kinds)) {
      if (!asked.has(key)) continue;
      const names = asked.get(key).split("~");
      for (const box of all(query)) box.checked = names.includes(box.value);
    }
    for (const key of ["x", "m"]) {
      const radio = asked.has(key) && byId(key === "x" ? asked.get(key) : `m${asked.get(key)}`);
      if (radio && radio.type === "radio") radio.checked = true;
    }
  };
  const write = () => {
    const said = new URLSearchParams();
    for (const [key, query] of Object.entries(kinds)) {
      const boxes = all(query);
      const names = boxes.filter((box) => box.checked).map((box) => box.value);
      if (names.length < boxes.length) said.set(key, names.join("~"));
    }
    const axis = all("input[name=x]").find((radio) => radio.checked);
    if (axis && axis.value !== "fits") said.set("x", axis.value);
    const metric = all("input[name=m]").find((radio) => radio.checked);
    if (metric && metric.id !== "m0") said.set("m", metric.id.slice(1));
    history.replaceState(null, "", String(said) ? `#${said}` : location.pathname + location.search);
  };
  const changed = () => { write(); closeUp(); };
  for (const form of all("form")) {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", changed);
  }
  byId("reset")?.addEventListener("click", () => {
    for (const box of all("#tools input[type=checkbox]")) box.checked = true;
    const fits = byId("fits");
    if (fits) fits.checked = true;
    changed();
  });
  addEventListener("hashchange", () => { if (location.hash.includes("=")) { read(); closeUp(); } });
  addEventListener("resize", closeUp);

  // A cell sorts by the number it was made of, words by their letters.
  const key = (row, column) => {
    const cell = row.cells[column];
    const number = cell && cell.dataset.v ? Number(cell.dataset.v.split(" ")[0]) : NaN;
    return Number.isNaN(number) ? (cell ? cell.textContent.trim() : "") : number;
  };
  const order = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b);
  };
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => order(key(a, column), key(b, column)));
        body.append(...(down ? rows.reverse() : rows));
      });
    });
  }

  // A table as tab-separated values: the stored numbers where there are any.
  const tsv = (table) => [...table.rows]
    .filter((row) => getComputedStyle(row).display !== "none")
    .map((row) => [...row.cells]
      .filter((cell) => getComputedStyle(cell).display !== "none")
      .map((cell) => (cell.dataset.v || cell.textContent).trim().replace(/\s+/g, " "))
      .join("\t"))
    .join("\n");
  for (const box of all(".scroll")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy TSV";
    button.addEventListener("click", async () => {
      const text = tsv(box.querySelector("table"));
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        const area = document.createElement("textarea");
        area.value = text;
        document.body.append(area);
        area.select();
        button.textContent = document.execCommand("copy") ? "Copied" : "Not allowed";
        area.remove();
      }
      setTimeout(() => { button.textContent = "Copy TSV"; }, 1500);
    });
    box.before(button);
    if (box.dataset.w) button.dataset.w = box.dataset.w;
  }

  // Pointing at a shape or a number shows what is stored.
  const tip = byId("tip");
  const points = new WeakMap();
  const nearest = (dots, event) => {
    // Stored once, with the drawing whose axis is linear.
    const id = CSS.escape(dots.closest(".band")?.dataset.b ?? "");
    const holder = dots.closest("figure")?.querySelector(`.wide .band[data-b="${id}"] path.d[data-v]`);
    const values = holder ? holder.dataset.v.split(" ") : [];
    if (!points.has(dots)) {
      const places = dots.getAttribute("d").split("M").slice(1);
      points.set(dots, places.map((place) => place.slice(0, -2).split(" ").map(Number)));
    }
    const matrix = dots.getScreenCTM();
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    let best = -1;
    let least = 64;
    points.get(dots).forEach(([x, y], index) => {
      const far = (x - at.x) ** 2 + (y - at.y) ** 2;
      if (far < least) [best, least] = [index, far];
    });
    return best < 0 ? "" : values[best];
  };
  const words = (target, event) => {
    if (!(target instanceof Element)) return "";
    const band = target.closest(".band");
    if (target.matches("path.d")) {
      const value = nearest(target, event);
      return value ? `${band?.dataset.b ?? ""}: ${value}` : "";
    }
    const title = target.querySelector(":scope > title");
    const stored = target.closest("[data-v]");
    if (title) {
      const held = title.textContent;
      return `${held}${stored ? ` (stored: ${stored.dataset.v.split(" ").join(", ")})` : ""}`;
    }
    return stored && stored.matches("td, li, text, span") ? `stored: ${stored.dataset.v.split(" ").slice(0, 6).join(", ")}` : "";
  };
  addEventListener("pointermove", (event) => {
    const text = words(event.target, event);
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 6);
    tip.style.left = `${Math.max(6, x)}px`;
    tip.style.top = `${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 6)}px`;
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  if (location.hash.includes("=")) read();
  closeUp();
})();

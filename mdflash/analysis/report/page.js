"use strict";
(() => {
  const views = JSON.parse(document.getElementById("views").textContent);
  const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#555555"];
  const HEAT = ["440154","482576","414487","35608d","2a788e","21918c","22a884","43bf71","7ad151","bbdf27","fde725"]
    .map(h => [0, 2, 4].map(k => parseInt(h.substr(k, 2), 16)));
  const heat = s => { const x = Math.max(0, Math.min(1, s)) * (HEAT.length - 1), k = Math.min(HEAT.length - 2, Math.floor(x)), f = x - k;
    return HEAT[k].map((c, i) => c + f * (HEAT[k + 1][i] - c)); };
  const hex = h => [1, 3, 5].map(k => parseInt(h.substr(k, 2), 16));
  const svgNode = (name, cls) => { const e = document.createElementNS("http://www.w3.org/2000/svg", name); e.setAttribute("class", cls); return e; };
  const unpack = text => { const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Int16Array(bytes.buffer); };

  views.forEach((v, number) => {
    const box = document.querySelector(`[data-view="${number}"]`);
    if (!box || !v.beads) return;
    const part = document.querySelector(`[data-molecule="${number}"]`);
    const canvas = box.querySelector("canvas"), ctx = canvas.getContext("2d");
    const slider = box.querySelector("input"), pick = box.querySelector(".pick"), color = box.querySelector(".color");
    const play = box.querySelector(".play"), many = box.querySelector(".many"), now = box.querySelector(".now");
    const n = v.beads, replicas = v.replicas;
    replicas.forEach(r => { r.xyz = unpack(r.positions); delete r.positions; });
    const state = { replica: 0, frame: 0, all: false, turn: [0.5, 0.35], zoom: 1, timer: 0 };
    const R = () => replicas[state.replica];

    replicas.forEach((r, k) => pick.add(new Option(`replica ${r.id}`, k)));
    if (v.chain.every(c => c === v.chain[0])) color.querySelector("[value=chain]").remove();
    if (!v.rmsf) color.querySelector("[value=rmsf]").remove();
    many.hidden = replicas.length < 2;

    const residues = Math.max(...v.residue) + 1, wild = v.rmsf ? Math.max(...v.rmsf) : 1;
    const bead = i => color.value === "chain" ? hex(COLORS[v.chain[i] % COLORS.length])
      : color.value === "rmsf" ? heat(v.rmsf[v.residue[i]] / wild) : heat(residues > 1 ? 0.92 * v.residue[i] / (residues - 1) : 0.3);

    const turned = (xyz, frame) => {
      const [a, b] = state.turn, ca = Math.cos(a), sa = Math.sin(a), cb = Math.cos(b), sb = Math.sin(b), out = new Float32Array(3 * n);
      for (let i = 0; i < n; i++) {
        const at = 3 * (frame * n + i), x = xyz[at] * v.scale, y = xyz[at + 1] * v.scale, z = xyz[at + 2] * v.scale;
        const x1 = ca * x + sa * z, z1 = -sa * x + ca * z;
        out[3 * i] = x1; out[3 * i + 1] = cb * y - sb * z1; out[3 * i + 2] = sb * y + cb * z1;
      }
      return out;
    };
    const paint = (p, left, top, w, h, unit) => {
      const items = [];
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < n; i++) { const z = p[3 * i + 2]; if (z < low) low = z; if (z > high) high = z; }
      const span = Math.max(high - low, 1e-6), fade = z => 0.55 * (1 - (z - low) / span);
      const tint = (c, z) => { const f = fade(z); return `rgb(${c.map(x => Math.round(x + f * (244 - x))).join(",")})`; };
      for (const [i, j] of v.bonds) items.push([0.5 * (p[3 * i + 2] + p[3 * j + 2]), i, j]);
      for (let i = 0; i < n; i++) items.push([p[3 * i + 2] + 0.01, i, -1]);
      items.sort((a, b) => a[0] - b[0]);
      const cx = left + w / 2, cy = top + h / 2;
      ctx.lineCap = "round";
      for (const [z, i, j] of items) {
        if (j < 0) {
          ctx.fillStyle = tint(bead(i), z);
          ctx.beginPath(); ctx.arc(cx + unit * p[3 * i], cy - unit * p[3 * i + 1], Math.max(1.5, 0.95 * unit), 0, 6.2832); ctx.fill();
          if (unit > 5) { ctx.strokeStyle = "rgba(20,28,40,.28)"; ctx.lineWidth = 1; ctx.stroke(); }
        } else {
          ctx.strokeStyle = tint(bead(i).map((x, k) => 0.45 * (x + bead(j)[k])), z);
          ctx.lineWidth = Math.max(1.2, 0.62 * unit);
          ctx.beginPath(); ctx.moveTo(cx + unit * p[3 * i], cy - unit * p[3 * i + 1]); ctx.lineTo(cx + unit * p[3 * j], cy - unit * p[3 * j + 1]); ctx.stroke();
        }
      }
    };
    let reach = 1;
    { const far = []; replicas.forEach(r => { const m = r.time.length, step = Math.max(1, Math.floor(m / 40));
        for (let f = 0; f < m; f += step) { let d = 0; for (let k = 3 * f * n; k < 3 * (f + 1) * n; k += 3) d = Math.max(d, Math.hypot(r.xyz[k], r.xyz[k + 1], r.xyz[k + 2])); far.push(d * v.scale); } });
      far.sort((a, b) => a - b); reach = far[Math.floor(0.9 * (far.length - 1))] || 1; }

    const draw = () => {
      const w = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
      const columns = state.all ? Math.ceil(Math.sqrt(replicas.length * 1.6)) : 1, rows = state.all ? Math.ceil(replicas.length / columns) : 1;
      const h = state.all ? Math.max(200, Math.min(w * rows / columns * 1.05, 640)) : Math.min(w * 0.74, 440);
      if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
        canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio); canvas.style.height = h + "px";
      }
      ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
      ctx.clearRect(0, 0, w, h);
      if (!state.all) {
        paint(turned(R().xyz, state.frame), 0, 0, w, h, state.zoom * 0.44 * Math.min(w, h) / reach);
      } else {
        const tw = w / columns, th = h / rows, share = R().time.length > 1 ? state.frame / (R().time.length - 1) : 0;
        replicas.forEach((r, k) => {
          const left = (k % columns) * tw, top = Math.floor(k / columns) * th;
          if (k === state.replica) { ctx.fillStyle = "rgba(0,114,178,.09)"; ctx.fillRect(left, top, tw, th); }
          paint(turned(r.xyz, Math.round(share * (r.time.length - 1))), left, top, tw, th, state.zoom * 0.42 * Math.min(tw, th) / reach);
          ctx.fillStyle = "#5b6675"; ctx.font = "11px system-ui,sans-serif"; ctx.fillText(r.id, left + 6, top + 14);
        });
      }
    };
    const clock = t => t >= 2000 ? (t / 1000).toFixed(2) + " ns" : t.toFixed(1) + " ps";
    const tell = () => {
      const r = R(), f = state.frame, rows = [["replica", r.id], ["time", clock(r.time[f])]];
      if (r.kelvin[f] !== null) rows.push(["temperature", r.kelvin[f] + " K"]);
      v.observables.forEach(o => { const x = r.values[o.name][f]; rows.push([o.title, x.toFixed(o.unit ? 2 : 3) + (o.unit ? " " + o.unit : "")]); });
      now.replaceChildren(...rows.map(([a, b]) => { const tr = document.createElement("tr");
        for (const text of [a, b]) { const td = document.createElement("td"); td.textContent = text; tr.append(td); } return tr; }));
      slider.max = r.time.length - 1; slider.value = f; pick.value = state.replica;
    };

    const plots = [...part.querySelectorAll("svg[data-link]")].map(svg => {
      const g = svg.querySelector(".frame"), [left, top, width, height, x0, x1, y0, y1] = g.dataset.frame.split(" ").map(Number);
      const names = JSON.parse(svg.dataset.names), link = svg.dataset.link;
      const px = x => left + (x - x0) / (x1 - x0) * width, py = y => top + (y1 - y) / (y1 - y0) * height;
      const cursor = g.appendChild(svgNode("line", "cursor")), dot = link === "value" && names.length === 2 ? g.appendChild(svgNode("circle", "dot")) : null;
      const known = names[0] && R().values[names[0]] !== undefined;
      const trace = link === "time" && known && replicas.length > 1 ? g.insertBefore(svgNode("path", "trace"), cursor) : null;
      cursor.setAttribute("y1", top); cursor.setAttribute("y2", top + height);
      if (dot) { dot.setAttribute("r", 6); cursor.remove(); }
      return { svg, names, link, known, px, py, left, top, width, height, x0, x1, y0, y1, cursor, dot, trace };
    });
    plots.forEach(p => { p.size = [...p.svg.querySelectorAll("text")].some(t => t.textContent === "time / ns") ? 1000 : 1; });
    let traced = -1;
    const mark = () => {
      const r = R(), f = state.frame;
      for (const p of plots) {
        if (p.link === "value") {
          if (!p.known) continue;
          if (p.dot) {
            const x = p.px(r.values[p.names[0]][f]), y = p.py(r.values[p.names[1]][f]);
            p.dot.setAttribute("cx", x); p.dot.setAttribute("cy", y);
            p.dot.style.visibility = x < p.left || x > p.left + p.width || y < p.top || y > p.top + p.height ? "hidden" : "";
          }
          else { const x = p.px(r.values[p.names[0]][f]); p.cursor.style.visibility = x < p.left || x > p.left + p.width ? "hidden" : ""; p.cursor.setAttribute("x1", x); p.cursor.setAttribute("x2", x); }
        } else {
          const x = Math.min(Math.max(p.px(r.time[f] / p.size), p.left), p.left + p.width);
          p.cursor.setAttribute("x1", x); p.cursor.setAttribute("x2", x);
          if (p.trace && traced !== state.replica) p.trace.setAttribute("d",
            r.time.map((t, k) => (k ? "L" : "M") + p.px(t / p.size).toFixed(1) + " " + p.py(r.values[p.names[0]][k]).toFixed(1)).join(""));
        }
      }
      traced = state.replica;
    };
    const show = (replica, frame) => {
      state.replica = replica; state.frame = Math.max(0, Math.min(frame, R().time.length - 1));
      box.dataset.frame = state.frame; box.dataset.replica = R().id;
      draw(); tell(); mark();
    };
    const nearest = t => { const r = R(); let best = 0; r.time.forEach((x, k) => { if (Math.abs(x - t) < Math.abs(r.time[best] - t)) best = k; }); return best; };

    for (const p of plots) p.svg.addEventListener("click", event => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(p.svg.getScreenCTM().inverse());
      const x = p.x0 + (at.x - p.left) / p.width * (p.x1 - p.x0), y = p.y1 - (at.y - p.top) / p.height * (p.y1 - p.y0);
      if (at.x < p.left - 2 || at.x > p.left + p.width + 2 || at.y < p.top - 2 || at.y > p.top + p.height + 2) return;
      if (p.link === "value") {
        if (!p.known) return;
        let best = [Infinity, 0, 0];
        replicas.forEach((r, k) => r.time.forEach((_, f) => {
          let d = ((r.values[p.names[0]][f] - x) / (p.x1 - p.x0)) ** 2;
          if (p.names.length > 1) d += ((r.values[p.names[1]][f] - y) / (p.y1 - p.y0)) ** 2;
          if (d < best[0] - 1e-12) best = [d, k, f];
        }));
        show(best[1], best[2]);
      } else {
        if (p.link === "replica") { const row = Math.floor(y); if (row >= 0 && row < replicas.length) state.replica = row; }
        show(state.replica, nearest(x * p.size));
      }
      const r = box.getBoundingClientRect();
      if (r.bottom < 80 || r.top > window.innerHeight - 80) flash();
    });
    const flash = () => { const tip = document.getElementById("tip"); tip.textContent = `Shown above: replica ${R().id}, ${clock(R().time[state.frame])}`; tip.hidden = false;
      clearTimeout(flash.timer); flash.timer = setTimeout(() => { tip.hidden = true; }, 1800); };

    slider.addEventListener("input", () => show(state.replica, Number(slider.value)));
    pick.addEventListener("change", () => show(Number(pick.value), nearest(R().time[state.frame])));
    color.addEventListener("change", draw);
    many.addEventListener("click", () => { state.all = !state.all; many.textContent = state.all ? "one replica" : "all replicas"; draw(); });
    play.addEventListener("click", () => {
      if (state.timer) { clearInterval(state.timer); state.timer = 0; play.textContent = "play"; return; }
      play.textContent = "pause";
      state.timer = setInterval(() => show(state.replica, (state.frame + 1) % R().time.length), 90);
    });
    let held = null;
    canvas.addEventListener("pointerdown", e => { held = [e.clientX, e.clientY, ...state.turn, false]; canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener("pointermove", e => { if (!held) return;
      const dx = e.clientX - held[0], dy = e.clientY - held[1]; if (Math.hypot(dx, dy) > 4) held[4] = true;
      state.turn = [held[2] + dx * 0.01, Math.max(-1.55, Math.min(1.55, held[3] + dy * 0.01))]; draw(); });
    canvas.addEventListener("pointerup", e => {
      if (held && !held[4] && state.all) {
        const b = canvas.getBoundingClientRect(), columns = Math.ceil(Math.sqrt(replicas.length * 1.6)), rows = Math.ceil(replicas.length / columns);
        const k = Math.floor((e.clientY - b.top) / b.height * rows) * columns + Math.floor((e.clientX - b.left) / b.width * columns);
        if (k < replicas.length) { const share = R().time.length > 1 ? state.frame / (R().time.length - 1) : 0; show(k, Math.round(share * (replicas[k].time.length - 1))); }
      }
      held = null;
    });
    canvas.addEventListener("wheel", e => { if (!e.ctrlKey && !e.shiftKey) return; e.preventDefault(); state.zoom = Math.max(0.3, Math.min(6, state.zoom * Math.exp(-0.002 * (e.deltaY || e.deltaX)))); draw(); }, { passive: false });
    canvas.addEventListener("keydown", e => { const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key]; if (step) { e.preventDefault(); show(state.replica, state.frame + step); } });
    new ResizeObserver(() => requestAnimationFrame(draw)).observe(box.querySelector(".stage"));
    show(0, 0);
  });
  document.documentElement.dataset.ready = "yes";
})();

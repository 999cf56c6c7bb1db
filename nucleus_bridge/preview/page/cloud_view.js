// SPDX-License-Identifier: Apache-2.0
// A view of clouds and trajectories, in perspective or from straight above: where it looks from, and how much of the clouds
// it draws while it moves. A painter draws.

// Column-major product a * b of 4 x 4 matrices.
function product(a, b) {
  const c = new Float32Array(16);
  for (let i = 0; i < 4; i++) for (let j = 0; j < 4; j++)
    for (let k = 0; k < 4; k++) c[4 * j + i] += a[4 * k + i] * b[4 * j + k];
  return c;
}

// From a cloud's whole steps to metres.
const fromSteps = ({ low: [x, y, z], step: [a, b, c] }) => [a, 0, 0, 0, 0, b, 0, 0, 0, 0, c, 0, x, y, z, 1];
const BACKGROUND = [14, 18, 24];
const KEY_STEPS = {
  ArrowLeft: { x: -1, y: 0 }, ArrowRight: { x: 1, y: 0 }, ArrowUp: { x: 0, y: -1 }, ArrowDown: { x: 0, y: 1 },
  '+': { zoom: 0.85 }, '-': { zoom: 1 / 0.85 }, 0: { home: true },
};
const STILL_MS = 250;
const BETWEEN_PICTURES = { slowest: 36, fast: 22 }, FOR_A_PICTURE = { slowest: 24, fast: 15 };  // milliseconds

class CloudView {
  // look: what both views share: cloud(i), has(i), count, frame, world, mode, size, fade, heights, device(i), lines(). While the view
  // moves, it draws so many points that it stays fluent, and all of them once it stands.
  constructor(canvas, look, fromAbove) {
    this.canvas = canvas; this.look = look; this.fromAbove = fromAbove; this.share = 1; this.last = 0; this.drawn = 0;
    this.painter = GlPainter.on(canvas) ?? new SoftPainter(canvas);
    this.reset();
    this.listen();
  }

  reset() {
    const { centre, reach } = this.look.home();
    this.target = [...centre]; this.turn = this.look.behind(); this.tilt = 0.5; this.distance = this.fromAbove ? reach * 1.1 : reach * 0.9;
  }

  listen() {
    let last = null;
    this.canvas.addEventListener('pointerdown', (event) => { last = event; this.canvas.setPointerCapture(event.pointerId); });
    this.canvas.addEventListener('pointerup', () => { last = null; });
    this.canvas.addEventListener('pointermove', (event) => {
      if (!last) return;
      const dx = event.clientX - last.clientX, dy = event.clientY - last.clientY;
      last = event;
      if (this.fromAbove || event.shiftKey || event.buttons === 2) this.pan(dx, dy);
      else { this.turn -= dx * 0.006; this.tilt = Math.min(1.55, Math.max(-0.2, this.tilt + dy * 0.006)); }
      this.draw(true);
    });
    this.canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    this.canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.distance = Math.min(2000, Math.max(1, this.distance * Math.exp(event.deltaY * 0.001)));
      this.draw(true);
    }, { passive: false });
    this.canvas.addEventListener('dblclick', () => { this.reset(); this.draw(); });
    this.canvas.addEventListener('keydown', (event) => {
      const step = KEY_STEPS[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      if (step.zoom) this.distance = Math.min(2000, Math.max(1, this.distance * step.zoom));
      else if (step.home) this.reset();
      else if (this.fromAbove || event.shiftKey) this.pan(-40 * step.x, -40 * step.y);
      else { this.turn -= 0.1 * step.x; this.tilt = Math.min(1.55, Math.max(-0.2, this.tilt - 0.1 * step.y)); }
      this.draw();
    });
  }

  pan(dx, dy) {
    const metres = (this.fromAbove ? 2 : 1.1) * this.distance / this.canvas.clientHeight;
    if (this.fromAbove) { this.target[0] -= dx * metres; this.target[1] += dy * metres; return; }
    const c = Math.cos(this.turn), s = Math.sin(this.turn);
    this.target[0] += (s * dx - c * dy) * -metres;
    this.target[1] += (-c * dx - s * dy) * -metres;
  }

  matrix() {
    const aspect = this.canvas.width / this.canvas.height, [tx, ty, tz] = this.target;
    if (this.fromAbove) {
      const s = 1 / this.distance;
      return new Float32Array([s / aspect, 0, 0, 0, 0, s, 0, 0, 0, 0, -0.0005, 0, -tx * s / aspect, -ty * s, tz * 0.0005, 1]);
    }
    const ct = Math.cos(this.turn), st = Math.sin(this.turn), cp = Math.cos(this.tilt), sp = Math.sin(this.tilt);
    const right = [st, -ct, 0], up = [sp * ct, sp * st, cp], back = [-cp * ct, -cp * st, sp];
    const eye = [tx + back[0] * this.distance, ty + back[1] * this.distance, tz + back[2] * this.distance];
    const dot = (a) => -(a[0] * eye[0] + a[1] * eye[1] + a[2] * eye[2]);
    const view = [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0, dot(right), dot(up), dot(back), 1];
    const near = 0.1, far = 3000, f = 1.6;
    const lens = [f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0];
    return product(lens, view);
  }

  // Draws soon; `moves`: because the view is being moved.
  draw(moves = false) {
    this.moves = moves;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame((now) => { this.waiting = false; this.step(now); });
  }

  step(now) {
    const { moves } = this, took = now - this.last;
    if (moves && this.moving) this.adapt(took);
    this.moving = moves;
    this.last = now;
    const start = performance.now();
    this.paint(moves ? this.share : 1);
    this.cost = performance.now() - start;
    clearTimeout(this.timer);
    if (moves && this.share < 1) this.timer = setTimeout(() => this.draw(), Math.max(STILL_MS, 3 * took));
  }

  // Chooses how much to draw by how long it took: where the processor draws, by the drawing alone, since fewer points do
  // not help against a browser that is slow to show a picture.
  adapt(took) {
    const [ms, { slowest, fast }] = this.painter.isAtOnce ? [this.cost, FOR_A_PICTURE] : [took, BETWEEN_PICTURES];
    if (ms > slowest) this.share = Math.max(0.02, this.share * Math.max(0.3, 0.9 * slowest / ms));
    else if (ms < fast) this.share = Math.min(1, this.share * 1.04);
  }

  paint(share = 1) {
    const { canvas, look } = this, ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    if (!width || !height) return;
    const shown = (look.world ? Array.from({ length: look.count }, (_, i) => i) : [look.frame]).filter((i) => look.has(i));
    const size = look.size * ratio * (look.world ? 0.7 : 1) * Math.min(2, Math.sqrt(1 / share));
    this.drawn = this.painter.paint(this.matrix(), look, shown, share, size);
  }
}

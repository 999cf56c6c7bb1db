// SPDX-License-Identifier: Apache-2.0
// Draws clouds and trajectory with WebGL, in perspective or from straight above.

// The colours come with the points: a shader that works them out would take most of the time on software rendering.
const POINT_SHADER = `
attribute vec3 at; attribute vec3 tint; uniform mat4 view; uniform float size; varying vec3 colour;
void main() { gl_Position = view * vec4(at, 1.0); gl_PointSize = size; colour = tint; }`;
const FADING_SHADER = `
attribute vec3 at; attribute vec3 tint; uniform mat4 view; uniform vec3 low, step, device; uniform float size, fade; varying vec3 colour;
void main() {
  gl_Position = view * vec4(at, 1.0); gl_PointSize = size;
  colour = tint * (1.0 - fade * clamp(distance(low + at * step, device) / 80.0, 0.0, 0.85));
}`;
const LINE_SHADER = `
attribute vec3 at; attribute vec3 tint; uniform mat4 view; varying vec3 colour;
void main() { gl_Position = view * vec4(at, 1.0); gl_PointSize = 1.0; colour = tint; }`;
const FRAGMENT_SHADER = `precision mediump float; varying vec3 colour; void main() { gl_FragColor = vec4(colour, 1.0); }`;

function compile(gl, vertexText) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertexText], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return program;
}

// Column-major product a * b of 4 x 4 matrices.
function product(a, b) {
  const c = new Float32Array(16);
  for (let i = 0; i < 4; i++) for (let j = 0; j < 4; j++)
    for (let k = 0; k < 4; k++) c[4 * j + i] += a[4 * k + i] * b[4 * j + k];
  return c;
}

// Moves what a matrix shows across the screen, in its halves.
function shifted(view, x, y) {
  const moved = new Float32Array(view);
  for (let column = 0; column < 4; column++) { moved[4 * column] += x * view[4 * column + 3]; moved[4 * column + 1] += y * view[4 * column + 3]; }
  return moved;
}

const WIDE_LINE = [[0, 0], [1, 0], [0, 1], [1, 1]];  // pixels: WebGL draws lines of one alone
const KEY_STEPS = {
  ArrowLeft: { x: -1, y: 0 }, ArrowRight: { x: 1, y: 0 }, ArrowUp: { x: 0, y: -1 }, ArrowDown: { x: 0, y: 1 },
  '+': { zoom: 0.85 }, '-': { zoom: 1 / 0.85 }, 0: { home: true },
};
const STRIDE = 8;  // bytes a point: three positions as uint16, two unused
const SLOWEST_MS = 36, FAST_MS = 22, STILL_MS = 250;

// Calls visit(place, number) so that the points of every beginning of the places are spread over the whole cloud.
function spread(count, visit) {
  let jump = Math.max(1, Math.round(count * 0.6180339887));
  const common = (a, b) => (b ? common(b, a % b) : a);
  while (count && common(jump, count) !== 1) jump++;
  for (let i = 0, from = 0; i < count; i++, from = (from + jump) % count) visit(i, from);
}

function spreadPositions({ count, steps: [x, y, z] }) {
  const words = new Uint16Array(STRIDE / 2 * count);
  spread(count, (i, from) => { words[4 * i] = x[from]; words[4 * i + 1] = y[from]; words[4 * i + 2] = z[from]; });
  return words;
}

// mode: height, intensity, distance from where the device was, time in the sweep, lidar, frame (age, 0 to 1).
function spreadColours(cloud, mode, { heights, device, age }) {
  const { count, low, step, steps, intensity, time } = cloud, colours = new Uint32Array(count);
  const distance = (i) => Math.hypot(...[0, 1, 2].map((axis) => low[axis] + steps[axis][i] * step[axis] - device[axis]));
  const values = [
    (i) => (low[2] + steps[2][i] * step[2] - heights[0]) / (heights[1] - heights[0]) * 255, (i) => 15.97 * Math.sqrt(intensity[i]),
    (i) => 255 - 85 * Math.log(Math.max(3, distance(i)) / 3), (i) => (time ? time[i] : 0), null, () => 255 * age,
  ];
  const valueOf = values[mode];
  if (valueOf) spread(count, (i, from) => { colours[i] = GRADIENT[Math.min(255, Math.max(0, valueOf(from))) | 0]; });
  else spread(count, (i, from) => { colours[i] = KINDS[cloud.device[from]]; });
  return colours;
}

class CloudView {
  // look: what both views share: cloud(i), count, frame, world, mode, size, fade, heights, device(i), lines(). While the view
  // moves, it draws so many points that it stays fluent, and all of them once it stands.
  constructor(canvas, look, fromAbove) {
    this.canvas = canvas; this.look = look; this.fromAbove = fromAbove; this.buffers = new Map(); this.share = 1; this.last = 0;
    this.gl = canvas.getContext('webgl', { antialias: false, preserveDrawingBuffer: true });
    this.reset();
    if (!this.gl) { this.complain(); return; }
    this.plain = this.program(POINT_SHADER);
    this.fading = this.program(FADING_SHADER);
    this.lineProgram = this.program(LINE_SHADER);
    this.lineBuffer = this.gl.createBuffer();
    this.listen();
  }

  program(text) {
    const gl = this.gl, program = compile(gl, text), places = {};
    for (const name of ['view', 'low', 'step', 'device', 'size', 'fade']) places[name] = gl.getUniformLocation(program, name);
    return { program, places };
  }

  complain() {
    const note = document.createElement('p');
    note.textContent = 'This browser has no WebGL: the clouds cannot be drawn.';
    this.canvas.after(note);
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

  bufferOf(index) {
    const gl = this.gl, { look } = this;
    if (!this.buffers.has(index)) {
      const cloud = look.cloud(index), buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, spreadPositions(cloud), gl.STATIC_DRAW);
      this.buffers.set(index, { buffer, cloud, colours: gl.createBuffer(), mode: null });
    }
    const found = this.buffers.get(index);
    if (found.mode !== look.mode) {
      const about = { heights: look.heights, device: look.device(index), age: look.count > 1 ? index / (look.count - 1) : 0 };
      gl.bindBuffer(gl.ARRAY_BUFFER, found.colours);
      gl.bufferData(gl.ARRAY_BUFFER, spreadColours(found.cloud, look.mode, about), gl.STATIC_DRAW);
      found.mode = look.mode;
    }
    return found;
  }

  // Draws soon; `moves`: because the view is being moved.
  draw(moves = false) {
    if (!this.gl) return;
    this.moves = moves;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame((now) => { this.waiting = false; this.step(now); });
  }

  step(now) {
    const { moves } = this, took = now - this.last;
    if (moves && this.moving) {
      if (took > SLOWEST_MS) this.share = Math.max(0.02, this.share * Math.max(0.3, 0.9 * SLOWEST_MS / took));
      else if (took < FAST_MS) this.share = Math.min(1, this.share * 1.04);
    }
    this.moving = moves;
    this.last = now;
    this.paint(moves ? this.share : 1);
    clearTimeout(this.timer);
    if (moves && this.share < 1) this.timer = setTimeout(() => this.draw(), Math.max(STILL_MS, 3 * took));
  }

  paint(share = 1) {
    const gl = this.gl, canvas = this.canvas, ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0.055, 0.07, 0.095, 1);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const view = this.matrix();
    this.paintPoints(view, ratio, share);
    this.paintLines(view);
  }

  paintPoints(view, ratio, share) {
    const gl = this.gl, look = this.look, { program, places } = look.fade ? this.fading : this.plain;
    gl.useProgram(program);
    gl.uniform1f(places.size, look.size * ratio * (look.world ? 0.7 : 1) * Math.min(2, Math.sqrt(1 / share)));
    if (look.fade) { gl.uniform1f(places.fade, look.fade); gl.uniform3fv(places.device, look.device(look.frame)); }
    let drawn = 0;
    for (const index of look.world ? Array(look.count).keys() : [look.frame]) {
      const { buffer, colours, cloud } = this.bufferOf(index), count = Math.ceil(cloud.count * share);
      const { low: [x, y, z], step: [a, b, c] } = cloud;
      gl.uniformMatrix4fv(places.view, false, product(view, [a, 0, 0, 0, 0, b, 0, 0, 0, 0, c, 0, x, y, z, 1]));
      if (look.fade) { gl.uniform3fv(places.low, cloud.low); gl.uniform3fv(places.step, cloud.step); }
      this.attribute(program, 'at', buffer, gl.UNSIGNED_SHORT, false, STRIDE, 0);
      this.attribute(program, 'tint', colours, gl.UNSIGNED_BYTE, true, 4, 0);
      gl.drawArrays(gl.POINTS, 0, count);
      drawn += count;
    }
    this.drawn = drawn;
  }

  paintLines(view) {
    const gl = this.gl, { program, places } = this.lineProgram, { at, tint } = this.look.lines();
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([...at, ...tint]), gl.DYNAMIC_DRAW);
    this.attribute(program, 'at', this.lineBuffer, gl.FLOAT, false, 0, 0);
    this.attribute(program, 'tint', this.lineBuffer, gl.FLOAT, false, 0, 4 * at.length);
    gl.disable(gl.DEPTH_TEST);
    for (const [x, y] of WIDE_LINE) {
      gl.uniformMatrix4fv(places.view, false, shifted(view, 2 * x / this.canvas.width, 2 * y / this.canvas.height));
      gl.drawArrays(gl.LINES, 0, at.length / 3);
    }
  }

  attribute(program, name, buffer, kind, normal, stride, offset) {
    const gl = this.gl, place = gl.getAttribLocation(program, name);
    if (place < 0) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, kind, normal, stride, offset);
  }
}

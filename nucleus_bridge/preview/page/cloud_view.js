// SPDX-License-Identifier: Apache-2.0
// Draws clouds and trajectory with WebGL, in perspective or from straight above.

const POINT_SHADER = `
attribute vec3 at; attribute vec3 more;
uniform mat4 view; uniform vec3 low, step, device; uniform float size, mode, age, fade; uniform vec2 heights;
varying vec3 colour;
${VIRIDIS_SHADER}
${KINDS_SHADER}
void main() {
  vec3 place = low + at * step;
  gl_Position = view * vec4(place, 1.0);
  gl_PointSize = size;
  float away = distance(place, device), value = (place.z - heights.x) / (heights.y - heights.x);
  if (mode > 4.5) value = age; else if (mode > 2.5 && mode < 3.5) value = more.z;
  else if (mode > 1.5 && mode < 2.5) value = 1.0 - log(max(away, 3.0) / 3.0) / 3.0; else if (mode > 0.5 && mode < 1.5) value = sqrt(more.x);
  colour = mode > 3.5 && mode < 4.5 ? kind(more.y * 255.0) : viridis(value);
  colour *= 1.0 - fade * clamp(away / 80.0, 0.0, 0.85);
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

const KEY_STEPS = {
  ArrowLeft: { x: -1, y: 0 }, ArrowRight: { x: 1, y: 0 }, ArrowUp: { x: 0, y: -1 }, ArrowDown: { x: 0, y: 1 },
  '+': { zoom: 0.85 }, '-': { zoom: 1 / 0.85 }, 0: { home: true },
};
const STRIDE = 12;  // bytes a point: three positions as uint16; intensity, lidar, time as uint8; three unused
const SLOWEST_MS = 36, FAST_MS = 22, STILL_MS = 250;

// A cloud as the graphics card wants it, in an order of which every beginning is spread over the whole cloud.
function interleaved(cloud) {
  const n = cloud.count, bytes = new Uint8Array(STRIDE * n), words = new Uint16Array(bytes.buffer), [x, y, z] = cloud.steps;
  let jump = Math.max(1, Math.round(n * 0.6180339887));
  const common = (a, b) => (b ? common(b, a % b) : a);
  while (n && common(jump, n) !== 1) jump++;
  for (let i = 0, from = 0; i < n; i++, from = (from + jump) % n) {
    words[6 * i] = x[from]; words[6 * i + 1] = y[from]; words[6 * i + 2] = z[from];
    bytes[STRIDE * i + 6] = cloud.intensity[from]; bytes[STRIDE * i + 7] = cloud.device[from];
    if (cloud.time) bytes[STRIDE * i + 8] = cloud.time[from];
  }
  return bytes;
}

class CloudView {
  // look: what both views share: cloud(i), count, frame, world, mode, size, fade, heights, device(), lines(). While the view
  // moves, it draws so many points that it stays fluent, and all of them once it stands.
  constructor(canvas, look, fromAbove) {
    this.canvas = canvas; this.look = look; this.fromAbove = fromAbove; this.buffers = new Map(); this.share = 1; this.last = 0;
    this.gl = canvas.getContext('webgl', { antialias: false, preserveDrawingBuffer: true });
    this.reset();
    if (!this.gl) { this.complain(); return; }
    this.points = this.program(POINT_SHADER);
    this.lines = this.program(LINE_SHADER);
    this.lineBuffer = this.gl.createBuffer();
    this.listen();
  }

  program(text) {
    const gl = this.gl, program = compile(gl, text), places = {};
    for (const name of ['view', 'low', 'step', 'device', 'size', 'mode', 'age', 'fade', 'heights']) places[name] = gl.getUniformLocation(program, name);
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
    const gl = this.gl;
    if (!this.buffers.has(index)) {
      const cloud = this.look.cloud(index), buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, interleaved(cloud), gl.STATIC_DRAW);
      this.buffers.set(index, { buffer, cloud });
    }
    return this.buffers.get(index);
  }

  // Draws soon; `moves`: because the view is being moved.
  draw(moves = false) {
    if (!this.gl) return;
    if (moves) { this.movedAt = performance.now(); } else { this.share = 1; this.movedAt = 0; }
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame((now) => { this.waiting = false; this.step(now); });
  }

  step(now) {
    const moves = this.movedAt && performance.now() - this.movedAt < STILL_MS;
    if (moves) {
      const took = now - this.last;
      if (took > SLOWEST_MS && took < 1000) this.share = Math.max(0.03, this.share * Math.max(0.5, 0.9 * SLOWEST_MS / took));
      else if (took < FAST_MS) this.share = Math.min(1, this.share * 1.04);
    }
    this.last = now;
    this.paint(moves ? this.share : 1);
    clearTimeout(this.timer);
    if (moves && this.share < 1) this.timer = setTimeout(() => { const share = this.share; this.draw(); this.share = share; }, STILL_MS);
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
    const gl = this.gl, { program, places } = this.points, look = this.look;
    gl.useProgram(program);
    gl.uniformMatrix4fv(places.view, false, view);
    gl.uniform1f(places.size, look.size * ratio * (look.world ? 0.7 : 1) * Math.min(2, Math.sqrt(1 / share)));
    gl.uniform1f(places.mode, look.mode);
    gl.uniform1f(places.fade, look.fade);
    gl.uniform3fv(places.device, look.device());
    gl.uniform2f(places.heights, look.heights[0], look.heights[1]);
    const frames = look.world ? [...Array(look.count).keys()] : [look.frame];
    let drawn = 0;
    for (const index of frames) {
      const { buffer, cloud } = this.bufferOf(index), count = Math.ceil(cloud.count * share);
      gl.uniform1f(places.age, look.count > 1 ? index / (look.count - 1) : 0);
      gl.uniform3fv(places.low, cloud.low);
      gl.uniform3fv(places.step, cloud.step);
      this.attribute(program, 'at', buffer, gl.UNSIGNED_SHORT, false, STRIDE, 0);
      this.attribute(program, 'more', buffer, gl.UNSIGNED_BYTE, true, STRIDE, 6);
      gl.drawArrays(gl.POINTS, 0, count);
      drawn += count;
    }
    this.drawn = drawn;
  }

  paintLines(view) {
    const gl = this.gl, { program, places } = this.lines, { at, tint } = this.look.lines();
    gl.useProgram(program);
    gl.uniformMatrix4fv(places.view, false, view);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([...at, ...tint]), gl.DYNAMIC_DRAW);
    this.attribute(program, 'at', this.lineBuffer, gl.FLOAT, false, 0, 0);
    this.attribute(program, 'tint', this.lineBuffer, gl.FLOAT, false, 0, 4 * at.length);
    gl.disable(gl.DEPTH_TEST);
    gl.drawArrays(gl.LINES, 0, at.length / 3);
  }

  attribute(program, name, buffer, kind, normal, stride, offset) {
    const gl = this.gl, place = gl.getAttribLocation(program, name);
    if (place < 0) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, kind, normal, stride, offset);
  }
}

// SPDX-License-Identifier: Apache-2.0
// Draws clouds and trajectory with WebGL, in perspective or from straight above.

const POINT_SHADER = `
attribute vec3 at; attribute float intensity; attribute float device;
uniform mat4 view; uniform float size, mode, age; uniform vec2 heights;
varying vec3 colour;
vec3 rainbow(float t) { return clamp(vec3(1.5) - abs(vec3(3.2 * t + 0.4) - vec3(3.0, 2.0, 1.0)), 0.15, 1.0); }
void main() {
  gl_Position = view * vec4(at, 1.0);
  gl_PointSize = size;
  float value = clamp((at.z - heights.x) / (heights.y - heights.x), 0.0, 1.0);
  if (mode > 2.5) value = age; else if (mode > 0.5 && mode < 1.5) value = sqrt(intensity);
  colour = rainbow(value) * (mode < 0.5 ? 0.45 + 0.55 * value : 1.0);
  if (mode > 1.5 && mode < 2.5) colour = 0.55 + 0.45 * cos(6.2832 * (device * 0.381966 + vec3(0.55, 0.2, 0.0)));
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

class CloudView {
  // look: what both views share: clouds(i), count, frame, world, mode, size, heights, lines(i).
  constructor(canvas, look, fromAbove) {
    this.canvas = canvas; this.look = look; this.fromAbove = fromAbove; this.buffers = new Map();
    this.gl = canvas.getContext('webgl', { antialias: true });
    this.reset();
    if (!this.gl) { this.complain(); return; }
    this.points = compile(this.gl, POINT_SHADER);
    this.lines = compile(this.gl, LINE_SHADER);
    this.lineBuffer = this.gl.createBuffer();
    this.listen();
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
      this.draw();
    });
    this.canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    this.canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.distance = Math.min(2000, Math.max(1, this.distance * Math.exp(event.deltaY * 0.001)));
      this.draw();
    }, { passive: false });
    this.canvas.addEventListener('dblclick', () => { this.reset(); this.draw(); });
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

  buffersOf(index) {
    const gl = this.gl;
    if (!this.buffers.has(index)) {
      const cloud = this.look.cloud(index);
      this.buffers.set(index, [cloud.xyz, cloud.intensity, cloud.device].map((column) => {
        const buffer = gl.createBuffer();
        gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
        gl.bufferData(gl.ARRAY_BUFFER, column, gl.STATIC_DRAW);
        return buffer;
      }).concat(cloud.count));
    }
    return this.buffers.get(index);
  }

  draw() {
    if (!this.gl || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.paint(); });
  }

  paint() {
    const gl = this.gl, canvas = this.canvas, ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio); canvas.height = Math.round(canvas.clientHeight * ratio);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0.055, 0.07, 0.095, 1);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const view = this.matrix();
    this.paintPoints(view, ratio);
    this.paintLines(view);
  }

  paintPoints(view, ratio) {
    const gl = this.gl, program = this.points, look = this.look;
    gl.useProgram(program);
    gl.uniformMatrix4fv(gl.getUniformLocation(program, 'view'), false, view);
    gl.uniform1f(gl.getUniformLocation(program, 'size'), look.size * ratio * (look.world ? 0.7 : 1));
    gl.uniform1f(gl.getUniformLocation(program, 'mode'), look.mode);
    gl.uniform2f(gl.getUniformLocation(program, 'heights'), look.heights[0], look.heights[1]);
    const attributes = [['at', 3, gl.FLOAT, false], ['intensity', 1, gl.UNSIGNED_BYTE, true], ['device', 1, gl.UNSIGNED_BYTE, false]];
    const frames = look.world ? [...Array(look.count).keys()] : [look.frame];
    for (const index of frames) {
      const buffers = this.buffersOf(index);
      gl.uniform1f(gl.getUniformLocation(program, 'age'), look.count > 1 ? index / (look.count - 1) : 0);
      attributes.forEach(([name, width, kind, normal], column) => this.attribute(program, name, buffers[column], width, kind, normal));
      gl.drawArrays(gl.POINTS, 0, buffers[3]);
    }
  }

  paintLines(view) {
    const gl = this.gl, program = this.lines, { at, tint } = this.look.lines();
    gl.useProgram(program);
    gl.uniformMatrix4fv(gl.getUniformLocation(program, 'view'), false, view);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([...at, ...tint]), gl.DYNAMIC_DRAW);
    this.attribute(program, 'at', this.lineBuffer, 3, gl.FLOAT, false);
    this.attribute(program, 'tint', this.lineBuffer, 3, gl.FLOAT, false, 4 * at.length);
    gl.disable(gl.DEPTH_TEST);
    gl.drawArrays(gl.LINES, 0, at.length / 3);
  }

  attribute(program, name, buffer, width, kind, normal, offset = 0) {
    const gl = this.gl, place = gl.getAttribLocation(program, name);
    if (place < 0) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, width, kind, normal, 0, offset);
  }
}

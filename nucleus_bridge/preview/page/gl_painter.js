// SPDX-License-Identifier: Apache-2.0
// Draws clouds and lines with WebGL, where a graphics card does the work.

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

const AT = 0, TINT = 1;  // where the attributes are

function compile(gl, vertexText) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertexText], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, AT, 'at');
  gl.bindAttribLocation(program, TINT, 'tint');
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

// Moves what a matrix shows across the screen, in its halves.
function shifted(view, x, y) {
  const moved = new Float32Array(view);
  for (let column = 0; column < 4; column++) { moved[4 * column] += x * view[4 * column + 3]; moved[4 * column + 1] += y * view[4 * column + 3]; }
  return moved;
}

const WIDE_LINE = [[0, 0], [1, 0], [0, 1], [1, 1]];  // pixels: WebGL draws lines of one alone
// Whether there is WebGL, and a graphics card that works it out.
function hasGraphicsCard() {
  const gl = document.createElement('canvas').getContext('webgl', { failIfMajorPerformanceCaveat: true });
  if (!gl) return false;
  const named = gl.getExtension('WEBGL_debug_renderer_info'), name = String(gl.getParameter(named ? named.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension('WEBGL_lose_context')?.loseContext();
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

class GlPainter {
  // Returns null where there is no WebGL, or where the processor would work it out: SoftPainter is many times as fast
  // there. The page's address with #webgl takes it all the same, with #pixels never.
  static on(canvas) {
    this.isChosen ??= location.hash === '#webgl' || (location.hash !== '#pixels' && hasGraphicsCard());
    const gl = this.isChosen ? canvas.getContext('webgl', { antialias: false, preserveDrawingBuffer: true }) : null;
    return gl && new GlPainter(gl);
  }

  constructor(gl) {
    this.gl = gl; this.buffers = new Map(); this.programs = new Map();
    this.lineBuffer = gl.createBuffer();
  }

  // The programs are made when they are needed first.
  program(text) {
    if (!this.programs.has(text)) {
      const { gl } = this, program = compile(gl, text), places = {};
      for (const name of ['view', 'low', 'step', 'device', 'size', 'fade']) places[name] = gl.getUniformLocation(program, name);
      this.programs.set(text, { program, places });
    }
    return this.programs.get(text);
  }

  bufferOf(index, look) {
    const { gl } = this;
    if (!this.buffers.has(index)) {
      const cloud = look.cloud(index), buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, spreadPositions(cloud), gl.STATIC_DRAW);
      this.buffers.set(index, { buffer, cloud, colours: gl.createBuffer(), mode: null });
    }
    const found = this.buffers.get(index);
    if (found.mode !== look.mode) {
      gl.bindBuffer(gl.ARRAY_BUFFER, found.colours);
      const palette = paletteOf(look.mode), shades = spreadShades(found.cloud, look.mode, aboutFrame(look, index));
      gl.bufferData(gl.ARRAY_BUFFER, Uint32Array.from(shades, (shade) => palette[shade]), gl.STATIC_DRAW);
      found.mode = look.mode;
    }
    return found;
  }

  // Draws a share of the clouds of some frames, and the lines. Returns how many points it drew.
  paint(view, look, shown, share, size) {
    const { gl } = this, { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.clearColor(...BACKGROUND.map((part) => part / 255), 1);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const drawn = this.points(view, look, shown, share, size);
    this.lines(view, look);
    return drawn;
  }

  points(view, look, shown, share, size) {
    const { gl } = this, { program, places } = this.program(look.fade ? FADING_SHADER : POINT_SHADER);
    gl.useProgram(program);
    gl.uniform1f(places.size, size);
    if (look.fade) { gl.uniform1f(places.fade, look.fade); gl.uniform3fv(places.device, look.device(look.frame)); }
    let drawn = 0;
    for (const index of shown) {
      const { buffer, colours, cloud } = this.bufferOf(index, look), count = pointsOfShare(cloud.count, share);
      gl.uniformMatrix4fv(places.view, false, product(view, fromSteps(cloud)));
      if (look.fade) { gl.uniform3fv(places.low, cloud.low); gl.uniform3fv(places.step, cloud.step); }
      this.attribute(AT, buffer, gl.UNSIGNED_SHORT, false, STRIDE, 0);
      this.attribute(TINT, colours, gl.UNSIGNED_BYTE, true, 4, 0);
      gl.drawArrays(gl.POINTS, 0, count);
      drawn += count;
    }
    return drawn;
  }

  lines(view, look) {
    const { gl } = this, { program, places } = this.program(LINE_SHADER), { at, tint } = look.lines();
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([...at, ...tint]), gl.DYNAMIC_DRAW);
    this.attribute(AT, this.lineBuffer, gl.FLOAT, false, 0, 0);
    this.attribute(TINT, this.lineBuffer, gl.FLOAT, false, 0, 4 * at.length);
    gl.disable(gl.DEPTH_TEST);
    for (const [x, y] of WIDE_LINE) {
      gl.uniformMatrix4fv(places.view, false, shifted(view, 2 * x / gl.canvas.width, 2 * y / gl.canvas.height));
      gl.drawArrays(gl.LINES, 0, at.length / 3);
    }
  }

  attribute(place, buffer, kind, normal, stride, offset) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, kind, normal, stride, offset);
  }
}

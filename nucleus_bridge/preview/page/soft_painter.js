// SPDX-License-Identifier: Apache-2.0
// Draws clouds and lines without a graphics card: points straight into the pixels of a canvas, the nearest one on top. On
// software rendering this is many times as fast as WebGL, which is made to draw triangles.

const positionsOf = new WeakMap(), coloursOf = new WeakMap();  // by cloud: both views share them
const NEAR = 0.1;

function softPositions(cloud) {
  if (!positionsOf.has(cloud)) positionsOf.set(cloud, spreadPositions(cloud));
  return positionsOf.get(cloud);
}

function softColours(cloud, look, index) {
  if (coloursOf.get(cloud)?.mode !== look.mode) coloursOf.set(cloud, { mode: look.mode, colours: spreadColours(cloud, look.mode, aboutFrame(look, index)) });
  return coloursOf.get(cloud).colours;
}

class SoftPainter {
  constructor(canvas) {
    this.canvas = canvas; this.isAtOnce = true;
    this.context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  }

  // Draws a share of the clouds of some frames, and the lines. Returns how many points it drew.
  paint(view, look, shown, share, size) {
    const { width, height } = this.canvas, { context } = this;
    if (this.pixels?.width !== width || this.pixels.height !== height) {
      this.pixels = context.createImageData(width, height);
      this.colours = new Uint32Array(this.pixels.data.buffer);
      this.nearest = new Float32Array(width * height);
    }
    this.colours.fill(packedColour(BACKGROUND));
    this.nearest.fill(-Infinity);
    let drawn = 0;
    for (const index of shown) {
      const cloud = look.cloud(index), count = Math.ceil(cloud.count * share);
      const colours = look.fade ? this.faded(cloud, look, index, count) : softColours(cloud, look, index);
      this.points(product(view, fromSteps(cloud)), softPositions(cloud), colours, count, Math.max(1, Math.round(size)));
      drawn += count;
    }
    context.putImageData(this.pixels, 0, 0);
    this.lines(view, look.lines());
    return drawn;
  }

  // m: from steps to the cube that is seen. A point is a square of pixels.
  points(m, positions, from, count, size) {
    const { width, height } = this.canvas, { colours, nearest } = this, isFlat = m[3] === 0 && m[7] === 0 && m[11] === 0;
    const row = (axis, half) => [0, 1, 2, 3].map((column) => half * (m[4 * column + 3] + (axis === 1 ? -1 : 1) * m[4 * column + axis]));
    const [ux, uy, uz, u1] = row(0, width / 2), [vx, vy, vz, v1] = row(1, height / 2);
    const wx = m[3], wy = m[7], wz = m[11], w1 = m[15];
    // Nearer is more: from above what is higher, else what has the smaller distance ahead.
    const dx = isFlat ? -m[2] : 0, dy = isFlat ? -m[6] : 0, dz = isFlat ? -m[10] : 0, d1 = isFlat ? -m[14] : 1;
    const back = (size - 1) / 2, right = width - size, bottom = height - size;
    for (let i = 0, k = 0; i < count; i++, k += 4) {
      const x = positions[k], y = positions[k + 1], z = positions[k + 2], w = wx * x + wy * y + wz * z + w1;
      if (w < NEAR) continue;
      const inverse = 1 / w, left = (ux * x + uy * y + uz * z + u1) * inverse - back, top = (vx * x + vy * y + vz * z + v1) * inverse - back;
      if (!(left >= 0 && top >= 0 && left < right && top < bottom)) continue;
      const depth = (dx * x + dy * y + dz * z + d1) * inverse, start = (top | 0) * width + (left | 0);
      if (size === 1) {
        if (depth > nearest[start]) { nearest[start] = depth; colours[start] = from[i]; }
        continue;
      }
      for (let line = start, last = start + size * width; line < last; line += width) {
        for (let place = line, end = line + size; place < end; place++) {
          if (depth > nearest[place]) { nearest[place] = depth; colours[place] = from[i]; }
        }
      }
    }
  }

  // Colours that fade with the distance from the device.
  faded(cloud, look, index, count) {
    const positions = softPositions(cloud), colours = softColours(cloud, look, index), { low, step } = cloud, at = look.device(look.frame);
    if (!(this.dim?.length >= cloud.count)) this.dim = new Uint32Array(cloud.count);
    for (let i = 0, k = 0; i < count; i++, k += 4) {
      const x = low[0] + positions[k] * step[0] - at[0], y = low[1] + positions[k + 1] * step[1] - at[1], z = low[2] + positions[k + 2] * step[2] - at[2];
      const share = 1 - look.fade * Math.min(0.85, Math.sqrt(x * x + y * y + z * z) / 80), colour = colours[i];
      this.dim[i] = (255 << 24 | (colour >> 16 & 255) * share << 16 | (colour >> 8 & 255) * share << 8 | (colour & 255) * share) >>> 0;
    }
    return this.dim;
  }

  lines(view, { at, tint }) {
    const { context } = this, { width, height } = this.canvas, ends = [0, 0, 0, 0];
    context.lineWidth = 2.5 * (window.devicePixelRatio || 1);
    let colour = '';
    for (let k = 0; k < at.length; k += 6) {
      if (!this.line(view, at, k, width, height, ends)) continue;
      const own = `rgb(${tint[k] * 255} ${tint[k + 1] * 255} ${tint[k + 2] * 255})`;
      if (own !== colour) {
        if (colour) context.stroke();
        context.beginPath();
        context.strokeStyle = colour = own;
      }
      context.moveTo(ends[0], ends[1]);
      context.lineTo(ends[2], ends[3]);
    }
    if (colour) context.stroke();
  }

  // Where a line begins and ends on the canvas, cut off where it comes too near; false where nothing of it is ahead.
  line(m, at, k, width, height, ends) {
    const clip = (start) => [0, 1, 3].map((row) => m[row] * at[start] + m[4 + row] * at[start + 1] + m[8 + row] * at[start + 2] + m[12 + row]);
    let a = clip(k), b = clip(k + 3);
    if (a[2] < NEAR && b[2] < NEAR) return false;
    const cut = (near, far) => near.map((value, i) => value + (far[i] - value) * (NEAR - near[2]) / (far[2] - near[2]));
    if (a[2] < NEAR) a = cut(a, b); else if (b[2] < NEAR) b = cut(b, a);
    [a, b].forEach(([x, y, w], i) => { ends[2 * i] = (1 + x / w) * width / 2; ends[2 * i + 1] = (1 - y / w) * height / 2; });
    return true;
  }
}

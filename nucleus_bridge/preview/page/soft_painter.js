// SPDX-License-Identifier: Apache-2.0
// Draws clouds and lines without a graphics card: points straight into the pixels of a canvas, the nearest one on top. On
// software rendering this is many times as fast as WebGL, which is made to draw triangles.

const positionsOf = new WeakMap(), shadesOf = new WeakMap(), dimsOf = new WeakMap();  // by cloud: both views share them
const NEAR = 0.1;
const SHADE_BITS = 8, DIM_BITS = 5, KEY_BITS = 31;
const DIMMEST = (1 << DIM_BITS) - 1, FARTHEST_M = 80, MOST_FADED = 0.85;

function softPositions(cloud) {
  if (!positionsOf.has(cloud)) positionsOf.set(cloud, spreadPositions(cloud));
  return positionsOf.get(cloud);
}

function softShades(cloud, look, index) {
  if (shadesOf.get(cloud)?.mode !== look.mode) shadesOf.set(cloud, { mode: look.mode, shades: spreadShades(cloud, look.mode, aboutFrame(look, index)) });
  return shadesOf.get(cloud).shades;
}

// Shades with how far points are from the device above them, which fades them.
function dimmedShades(cloud, look, index) {
  const shades = softShades(cloud, look, index), known = dimsOf.get(cloud);
  if (known?.shades === shades && known.frame === look.frame) return known.dimmed;
  const positions = softPositions(cloud), dimmed = new Uint16Array(cloud.count), { low, step } = cloud, at = look.device(look.frame);
  for (let i = 0, k = 0; i < cloud.count; i++, k += 4) {
    const x = low[0] + positions[k] * step[0] - at[0], y = low[1] + positions[k + 1] * step[1] - at[1], z = low[2] + positions[k + 2] * step[2] - at[2];
    const share = Math.min(1, Math.sqrt(x * x + y * y + z * z) / (FARTHEST_M * MOST_FADED));
    dimmed[i] = Math.round(DIMMEST * share) << SHADE_BITS | shades[i];
  }
  dimsOf.set(cloud, { shades, frame: look.frame, dimmed });
  return dimmed;
}

// The colours of shades, each in every dimness where points fade.
function fadedPalette(palette, fade) {
  if (!fade) return palette;
  return Uint32Array.from({ length: palette.length << DIM_BITS }, (_, i) => {
    const share = 1 - fade * MOST_FADED * (i >> SHADE_BITS) / DIMMEST, colour = palette[i & 255];
    return (255 << 24 | (colour >> 16 & 255) * share << 16 | (colour >> 8 & 255) * share << 8 | (colour & 255) * share) >>> 0;
  });
}

class SoftPainter {
  constructor(canvas) {
    this.canvas = canvas; this.isAtOnce = true;
    this.context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  }

  // Draws a share of the clouds of some frames, and the lines. Returns how many points it drew. Each pixel keeps one
  // number of the nearest point there, how near it is and below that its shade, which takes the room of one in the cache.
  paint(view, look, shown, share, size) {
    const { width, height } = this.canvas, { context } = this;
    if (this.pixels?.width !== width || this.pixels.height !== height) {
      this.pixels = context.createImageData(width, height);
      this.colours = new Uint32Array(this.pixels.data.buffer);
      this.nearest = new Int32Array(width * height);
    }
    this.nearest.fill(0);
    let drawn = 0;
    for (const index of shown) {
      const cloud = look.cloud(index), count = pointsOfShare(cloud.count, share), bits = look.fade ? SHADE_BITS + DIM_BITS : SHADE_BITS;
      const shades = look.fade ? dimmedShades(cloud, look, index) : softShades(cloud, look, index);
      this.points(product(view, fromSteps(cloud)), softPositions(cloud), shades, bits, count, Math.max(1, Math.round(size)));
      drawn += count;
    }
    this.colour(fadedPalette(paletteOf(look.mode), look.fade));
    context.putImageData(this.pixels, 0, 0);
    this.lines(view, look.lines());
    return drawn;
  }

  // m: from steps to the cube that is seen. A point is a square of pixels. bits: of the shades.
  points(m, positions, shades, bits, count, size) {
    const { width, height } = this.canvas, { nearest } = this, isFlat = m[3] === 0 && m[7] === 0 && m[11] === 0;
    // To pixels, times the distance ahead. Written out, all of it is known to be numbers, which makes the loop quicker.
    const halfWidth = width / 2, ux = halfWidth * (m[3] + m[0]), uy = halfWidth * (m[7] + m[4]), uz = halfWidth * (m[11] + m[8]), u1 = halfWidth * (m[15] + m[12]);
    const halfHeight = height / 2, vx = halfHeight * (m[3] - m[1]), vy = halfHeight * (m[7] - m[5]), vz = halfHeight * (m[11] - m[9]), v1 = halfHeight * (m[15] - m[13]);
    // Nearer is more. From above it is how high a point is, from -1 to 1; else one over the distance ahead.
    const most = (1 << KEY_BITS - bits) - 1, half = most / 2, reach = NEAR * most, least = isFlat ? 1 : NEAR;
    const wx = isFlat ? -half * m[2] : m[3], wy = isFlat ? -half * m[6] : m[7], wz = isFlat ? -half * m[10] : m[11], w1 = isFlat ? half * (1 - m[14]) : m[15];
    const shift = 1 - (size - 1) / 2, right = width - size, bottom = height - size;  // a pixel more, since cutting off rounds up below 0
    for (let i = 0, k = 0; i < count; i++, k += 4) {
      const x = positions[k], y = positions[k + 1], z = positions[k + 2], w = wx * x + wy * y + wz * z + w1;
      if (w < least) continue;
      const inverse = isFlat ? 1 : 1 / w, left = ((ux * x + uy * y + uz * z + u1) * inverse + shift | 0) - 1, top = ((vx * x + vy * y + vz * z + v1) * inverse + shift | 0) - 1;
      if (left >>> 0 >= right || top >>> 0 >= bottom) continue;
      const key = (isFlat ? w : reach * inverse) << bits | shades[i], start = top * width + left;
      if (size === 1) {
        if (key > nearest[start]) nearest[start] = key;
        continue;
      }
      for (let line = start, last = start + size * width; line < last; line += width) {
        for (let place = line, end = line + size; place < end; place++) if (key > nearest[place]) nearest[place] = key;
      }
    }
  }

  // Makes colours of what the pixels keep.
  colour(palette) {
    const { nearest, colours } = this, nothing = packedColour(BACKGROUND), last = palette.length - 1;
    for (let i = 0; i < colours.length; i++) {
      const key = nearest[i];
      colours[i] = key > 0 ? palette[key & last] : nothing;
    }
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

// SPDX-License-Identifier: Apache-2.0
// Draws points and layers on an image, however it is zoomed. A view says where the image lies on a canvas:
// canvas = (pixel + 0.5) * scale + x, since pixel centres are whole numbers and a canvas counts from the corner.

const POINT_COLOURS = ['depth', 'height', 'intensity', 'time', 'lidar'];

class Overlay {
  constructor() {
    this.canvas = document.createElement('canvas');
    this.context = this.canvas.getContext('2d', { willReadFrequently: true });
  }

  // options: colour, size (canvas pixels), fade, hides, near, far, heights. Returns how many points were drawn.
  points(context, seen, cloud, image, view, options) {
    const { width, height } = context.canvas;
    if (!width || !height) return 0;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width; this.canvas.height = height;
      this.pixels = this.context.createImageData(width, height);
      this.colours = new Uint32Array(this.pixels.data.buffer);
      this.depths = new Float32Array(width * height);
    }
    this.colours.fill(0);
    this.depths.fill(Infinity);
    const hidden = options.hides ? hiddenBehind(seen, image) : null, valueOf = this.values(seen, cloud, options);
    const kinds = options.colour === 'lidar', reach = Math.log(options.far / options.near), size = Math.max(1, Math.round(options.size));
    let drawn = 0;
    for (let i = 0; i < seen.count; i++) {
      if (hidden && hidden[i]) continue;
      const left = Math.round((seen.u[i] + 0.5) * view.scale + view.x - size / 2), top = Math.round((seen.v[i] + 0.5) * view.scale + view.y - size / 2);
      if (left + size <= 0 || top + size <= 0 || left >= width || top >= height) continue;
      drawn++;
      const depth = seen.depth[i], value = valueOf(i);
      let colour = kinds ? KINDS[value] : GRADIENT[Math.min(255, Math.max(0, value)) | 0];
      if (options.fade) {
        const away = Math.min(1, Math.max(0, Math.log(depth / options.near) / reach));
        colour = (colour & 0xffffff | Math.round(255 * (1 - 0.9 * options.fade * away)) << 24) >>> 0;
      }
      const right = Math.min(width, left + size), bottom = Math.min(height, top + size);
      for (let row = Math.max(0, top); row < bottom; row++) {
        for (let place = row * width + Math.max(0, left), end = row * width + right; place < end; place++) {
          if (depth < this.depths[place]) { this.depths[place] = depth; this.colours[place] = colour; }
        }
      }
    }
    this.context.putImageData(this.pixels, 0, 0);
    context.drawImage(this.canvas, 0, 0);
    return drawn;
  }

  // What a point's colour says, 0..255.
  values(seen, cloud, { colour, near, far, heights }) {
    const { number, depth } = seen;
    if (colour === 'height') {
      const from = cloud.steps[2], step = cloud.step[2], low = cloud.low[2] - heights[0], span = 255 / (heights[1] - heights[0]);
      return (i) => (low + from[number[i]] * step) * span;
    }
    if (colour === 'intensity') return (i) => 15.97 * Math.sqrt(cloud.intensity[number[i]]);
    if (colour === 'time') return cloud.time ? (i) => cloud.time[number[i]] : () => 0;
    if (colour === 'lidar') return (i) => cloud.device[number[i]];
    const reach = 255 / Math.log(far / near);
    return (i) => 255 - Math.log(depth[i] / near) * reach;
  }
}

// What layers draw on an image with, in scene coordinates.
class Pen {
  constructor(context, project, view) { this.context = context; this.project = project; this.view = view; this.out = new Float64Array(3); }

  place(at) {
    if (!this.project(at[0], at[1], at[2], this.out)) return null;
    return [(this.out[0] + 0.5) * this.view.scale + this.view.x, (this.out[1] + 0.5) * this.view.scale + this.view.y];
  }

  // A straight line, bent as the lens bends it; what is behind the camera is left out.
  line(a, b, colour, width = 2) {
    const { context } = this, pieces = 16;
    context.strokeStyle = colour; context.lineWidth = width;
    context.beginPath();
    let down = false;
    for (let i = 0; i <= pieces; i++) {
      const at = this.place([0, 1, 2].map((axis) => a[axis] + (b[axis] - a[axis]) * i / pieces));
      if (at) { if (down) context.lineTo(...at); else context.moveTo(...at); }
      down = at !== null;
    }
    context.stroke();
  }

  text(at, text, colour) {
    const place = this.place(at);
    if (!place) return;
    this.context.font = '600 12px system-ui, sans-serif';
    this.context.lineWidth = 3; this.context.strokeStyle = 'rgba(0,0,0,0.75)';
    this.context.strokeText(text, ...place);
    this.context.fillStyle = colour;
    this.context.fillText(text, ...place);
  }
}

// Layers: what is drawn over images and clouds besides points. Each is { name, title, shown, onImage(pen, frame, camera),
// inScene(line, frame) }, where line(a, b, [r, g, b]) draws in 3D; both are optional.
const layers = [];
function addLayer(layer) { layers.push(layer); return layer; }

function paintLayers(context, project, view, frame, camera) {
  const pen = new Pen(context, project, view);
  for (const layer of layers) if (layer.shown && layer.onImage) layer.onImage(pen, frame, camera);
}

// SPDX-License-Identifier: Apache-2.0
// Labels: boxes in 3D, from above and on the images, coloured by class. Without labels it does nothing.

const labelled = JSON.parse(document.getElementById('labels')?.textContent ?? 'null');
const labelOptions = { shown: true };
// Corners 0 to 3 go round the front and back at the bottom, 4 to 7 above them; 0 and 1 are in front.
const LABEL_CORNERS = [[1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, -1], [1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1]];
const LABEL_EDGES = [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]];
const LABEL_PIECES = 8;

// The boxes of a frame: class, corners, and lines as pairs of points; the last line leads from the middle to the front.
function labelsOf(index) {
  if (!labelled || !labelOptions.shown) return [];
  return (labelled.frames[index] ?? []).map(([kind, x, y, z, qx, qy, qz, qw, length, width, height]) => {
    const m = matrixOf({ x: qx, y: qy, z: qz, w: qw });
    const place = (a, b, c) => [x, y, z].map((start, row) =>
      start + m[3 * row] * a * length / 2 + m[3 * row + 1] * b * width / 2 + m[3 * row + 2] * c * height / 2);
    const corners = LABEL_CORNERS.map(([a, b, c]) => place(a, b, c));
    const lines = LABEL_EDGES.map(([from, to]) => [corners[from], corners[to]]);
    lines.push([place(0, 0, 0), place(1.4, 0, 0)]);
    return { kind, corners, lines };
  });
}

// Lines for the views of the cloud.
function labelLines(index, line) {
  for (const { kind, lines } of labelsOf(index)) {
    for (const [from, to] of lines) line(from, to, labelled.colours[kind]);
  }
}

// Lines on an image, as [[u, v], [u, v], class] in pixels of the full image; bent as the lens bends them.
function labelSegments(index, image) {
  const project = projector(image.params), found = [];
  for (const { kind, lines } of labelsOf(index)) {
    for (const [from, to] of lines) {
      let before = null;
      for (let piece = 0; piece <= LABEL_PIECES; piece++) {
        const at = [0, 1, 2].map((axis) => from[axis] + (to[axis] - from[axis]) * piece / LABEL_PIECES);
        const pixel = project(...at);
        if (before && pixel) found.push([before, pixel, kind]);
        before = pixel;
      }
    }
  }
  return found;
}

function paintLabels(canvas, image, index) {
  if (!labelled || !image) return;
  const context = canvas.getContext('2d'), scale = canvas.width / image.width;
  context.lineWidth = Math.max(1.5, canvas.width / 480);
  for (const [from, to, kind] of labelSegments(index, image)) {
    context.strokeStyle = `rgb(${labelled.colours[kind].map((part) => Math.round(255 * part)).join(',')})`;
    context.beginPath();
    context.moveTo((from[0] + 0.5) * scale, (from[1] + 0.5) * scale);
    context.lineTo((to[0] + 0.5) * scale, (to[1] + 0.5) * scale);
    context.stroke();
  }
}

// A switch, and which colour is which class.
function labelLegend(parent, changed) {
  if (!labelled) return;
  const box = document.createElement('input'), legend = document.createElement('label');
  box.type = 'checkbox'; box.checked = true; box.id = 'labelsShown';
  box.addEventListener('change', () => { labelOptions.shown = box.checked; changed(); });
  legend.title = 'labelled boxes';
  legend.append(box, ' labels');
  labelled.classes.forEach((name, kind) => {
    const chip = document.createElement('span');
    chip.textContent = ` ■ ${name}`;
    chip.style.color = `rgb(${labelled.colours[kind].map((part) => Math.round(200 * part)).join(',')})`;
    legend.append(chip);
  });
  parent.append(legend);
}

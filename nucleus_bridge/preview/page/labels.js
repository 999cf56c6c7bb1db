// SPDX-License-Identifier: Apache-2.0
// Labels: boxes in 3D, from above and on the images, coloured by class: a layer, where the page holds labels.

const labelled = JSON.parse(document.getElementById('labels')?.textContent ?? 'null');
// Corners 0 to 3 go round the front and back at the bottom, 4 to 7 above them; 0 and 1 are in front.
const LABEL_CORNERS = [[1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, -1], [1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1]];
const LABEL_EDGES = [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]];
const labelColour = (kind, most = 255) => `rgb(${labelled.colours[kind].map((part) => Math.round(most * part)).join(',')})`;

// The boxes of a frame: class, and lines as pairs of points; the last line leads from the middle to the front.
function labelsOf(index) {
  return (labelled?.frames[index] ?? []).map(([kind, x, y, z, qx, qy, qz, qw, length, width, height]) => {
    const m = rotationOf([qx, qy, qz, qw]);
    const place = (a, b, c) => [x, y, z].map((start, row) =>
      start + m[3 * row] * a * length / 2 + m[3 * row + 1] * b * width / 2 + m[3 * row + 2] * c * height / 2);
    const corners = LABEL_CORNERS.map(([a, b, c]) => place(a, b, c));
    const lines = LABEL_EDGES.map(([from, to]) => [corners[from], corners[to]]);
    lines.push([place(0, 0, 0), place(1.4, 0, 0)]);
    return { kind, lines };
  });
}

if (labelled) {
  addLayer({
    name: 'labels', title: 'labels', shown: true,
    inScene(line, frame) {
      for (const { kind, lines } of labelsOf(frame)) for (const [from, to] of lines) line(from, to, labelled.colours[kind]);
    },
    onImage(pen, frame) {
      const width = Math.max(1.5, pen.context.canvas.width / 480);
      for (const { kind, lines } of labelsOf(frame)) for (const [from, to] of lines) pen.line(from, to, labelColour(kind), width);
    },
  });
}

// Says which colour is which class, beside the switch of the layer.
function labelLegend() {
  if (!labelled) return;
  const legend = byId('layer-labels').parentElement;
  legend.title = 'labelled boxes';
  labelled.classes.forEach((name, kind) => {
    const chip = element('span', ` ■ ${name}`);
    chip.style.color = labelColour(kind, 200);
    legend.append(chip);
  });
}

// The ends of the boxes' lines that a camera sees, in pixels of the full image.
function labelEnds(index, image, pose) {
  const project = projector(image.params, pose), out = new Float64Array(3);
  return labelsOf(index).flatMap(({ lines }) => lines.flat().filter((at) => project(...at, out)).map((at) => {
    project(...at, out);
    return [out[0], out[1]];
  }));
}

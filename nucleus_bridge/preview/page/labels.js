// SPDX-License-Identifier: Apache-2.0
// Labels: boxes in 3D, from above and on the images, coloured by class; a layer where the page has labels.

const labelled = JSON.parse(document.getElementById('labels')?.textContent ?? 'null');
// Corners 0 to 3 go round the front and back at the bottom, 4 to 7 above them; 0 and 1 are in front.
const LABEL_CORNERS = [[1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, -1], [1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1]];
const LABEL_EDGES = [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]];
const labelColour = (kind, most = 255) => `rgb(${labelled.colours[kind].map((part) => Math.round(most * part)).join(',')})`;

// The boxes of a frame: class, and lines as pairs of points; the last line leads from the middle to the front.
function labelsOf(index) {
  return (labelled.frames[index] ?? []).map(([kind, x, y, z, qx, qy, qz, qw, length, width, height]) => {
    const m = rotationOf([qx, qy, qz, qw]);
    const place = (a, b, c) => [x, y, z].map((start, row) =>
      start + m[3 * row] * a * length / 2 + m[3 * row + 1] * b * width / 2 + m[3 * row + 2] * c * height / 2);
    const corners = LABEL_CORNERS.map(([a, b, c]) => place(a, b, c));
    const lines = LABEL_EDGES.map(([from, to]) => [corners[from], corners[to]]);
    lines.push([place(0, 0, 0), place(1.4, 0, 0)]);
    return { kind, lines };
  });
}

// Where the ends of lines are on an image, as [[u, v, depth], [u, v, depth], class] in pixels of the full image.
function labelSegments(index, params, pose) {
  const project = projector(params, pose), out = new Float64Array(3);
  const seen = (at) => (project(at[0], at[1], at[2], out) ? Array.from(out) : null);
  return labelsOf(index).flatMap(({ kind, lines }) => lines.map(([from, to]) => [seen(from), seen(to), kind])).filter(([from, to]) => from && to);
}

if (labelled) {
  const names = labelled.classes.map((name, kind) => {
    const chip = element('span', ` ■ ${name}`);
    chip.style.color = labelColour(kind, 200);
    return chip;
  });
  addLayer({
    name: 'labels', title: 'labels', id: 'labelsShown', shown: true, legend: names,
    onImage(pen, frame) { for (const { kind, lines } of labelsOf(frame)) for (const [from, to] of lines) pen.line(from, to, labelColour(kind)); },
    inScene(line, frame) { for (const { kind, lines } of labelsOf(frame)) for (const [from, to] of lines) line(from, to, labelled.colours[kind]); },
  });
}

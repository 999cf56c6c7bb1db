// SPDX-License-Identifier: Apache-2.0
// The trajectories of all sources of poses: the one that the scene uses is white and solid, the others are dashed.

const TRACK_COLOURS = ['#FFFFFF', OKABE_ITO[5], OKABE_ITO[3], OKABE_ITO[2], OKABE_ITO[4], OKABE_ITO[1]];
const DASHES = 60, DASH_SHARE = 0.6;

// Cuts a line into dashes of one length.
function dashed(points) {
  const lengths = points.slice(1).map((point, i) => Math.hypot(...point.map((value, axis) => value - points[i][axis])));
  const period = Math.max(0.3, lengths.reduce((sum, length) => sum + length, 0) / DASHES), strokes = [];
  let done = 0;
  lengths.forEach((length, i) => {
    const at = (way) => points[i].map((value, axis) => value + (points[i + 1][axis] - value) * (way - done) / length);
    for (let dash = Math.floor(done / period); length > 0 && dash * period < done + length; dash++) {
      const from = Math.max(done, dash * period), to = Math.min(done + length, (dash + DASH_SHARE) * period);
      if (to > from) strokes.push([at(from), at(to)]);
    }
    done += length;
  });
  return strokes;
}

function trajectoryOf(track, number, frames) {
  const colour = TRACK_COLOURS[track.is_used ? 0 : 1 + (number - 1) % (TRACK_COLOURS.length - 1)];
  const points = track.is_used ? frames.map(({ position }) => position) : track.points;
  const strokes = track.is_used ? points.slice(1).map((point, i) => [points[i], point]) : dashed(points);
  return { ...track, colour, tint: partsOf(colour).map((part) => part / 255), strokes, points, shown: true };
}

// A check box for each trajectory, with its line, its name and how far it is from the one that the scene uses.
function trajectoryLegend(parent, trajectories, changed) {
  trajectories.forEach((track, number) => {
    const box = element('input'), line = svg('svg', { viewBox: '0 0 26 10' });
    box.type = 'checkbox'; box.checked = true; box.id = `track-${number}`; box.disabled = !track.strokes.length;
    box.addEventListener('change', () => { track.shown = box.checked; changed(); });
    line.append(svg('line', { x1: 2, x2: 24, y1: 5, y2: 5, stroke: track.colour, 'stroke-width': 2.5, 'stroke-dasharray': track.is_used ? 'none' : '6 3' }));
    const far = typeof track.apart_m === 'number' ? `up to ${track.apart_m < 10 ? track.apart_m.toFixed(2) : Math.round(track.apart_m)} m away` : '';
    const said = [track.note, far].filter(Boolean).join(', ');
    const words = track.is_used ? [element('b', track.name), element('span', `used by the scene${said ? `, ${said}` : ''}`)] : [element('span', track.name), element('i', said)];
    parent.append(element('label', '', box, line, ...words));
  });
}

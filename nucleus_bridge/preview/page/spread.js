// SPDX-License-Identifier: Apache-2.0
// The points of a cloud in parts, each spread over the whole cloud, and their shades: places in a palette of 256 colours.

const STRIDE = 8;  // bytes a point: three positions as uint16, two unused

// Every 37th point first, then others between them: neighbours stay near each other in memory and on the screen, which
// is quicker to draw than an order that leaps to and fro. No lidar has 37 rings, or a multiple.
const PARTS = 37, LEAP = 23;
const beginOf = (part) => part * LEAP % PARTS;

// Calls visit(place, number) so that the points of the first parts, however many, are spread over the whole cloud.
function spread(count, visit) {
  let place = 0;
  for (let part = 0; part < PARTS; part++) for (let from = beginOf(part); from < count; from += PARTS) visit(place++, from);
}

// How many points the first parts have, whole ones, that come to about a share of a cloud.
function pointsOfShare(count, share) {
  let points = 0;
  for (let part = 0; part < Math.max(1, Math.round(PARTS * share)); part++) points += Math.max(0, Math.ceil((count - beginOf(part)) / PARTS));
  return points;
}

function spreadPositions({ count, steps: [x, y, z] }) {
  const words = new Uint16Array(STRIDE / 2 * count);
  spread(count, (i, from) => { words[4 * i] = x[from]; words[4 * i + 1] = y[from]; words[4 * i + 2] = z[from]; });
  return words;
}

// mode: height, intensity, distance from where the device was, time in the sweep, lidar, frame (age, 0 to 1).
function spreadShades(cloud, mode, { heights, device, age }) {
  const { count, low, step, steps, intensity, time } = cloud, shades = new Uint8Array(count);
  const distance = (i) => Math.hypot(...[0, 1, 2].map((axis) => low[axis] + steps[axis][i] * step[axis] - device[axis]));
  const values = [
    (i) => (low[2] + steps[2][i] * step[2] - heights[0]) / (heights[1] - heights[0]) * 255, (i) => 15.97 * Math.sqrt(intensity[i]),
    (i) => 255 - 85 * Math.log(Math.max(3, distance(i)) / 3), (i) => (time ? time[i] : 0), (i) => cloud.device[i], () => 255 * age,
  ];
  const valueOf = values[mode];
  spread(count, (i, from) => { shades[i] = Math.min(255, Math.max(0, valueOf(from))); });
  return shades;
}

const LIDAR_MODE = 4;
const paletteOf = (mode) => (mode === LIDAR_MODE ? KINDS : GRADIENT);

// What colours depend on besides the cloud.
const aboutFrame = (look, index) => ({ heights: look.heights, device: look.device(index), age: look.count > 1 ? index / (look.count - 1) : 0 });

// SPDX-License-Identifier: Apache-2.0
// The points of a cloud in an order of which every beginning is spread over the whole cloud, and their colours.

const STRIDE = 8;  // bytes a point: three positions as uint16, two unused

// Calls visit(place, number) so that the points of every beginning of the places are spread over the whole cloud.
function spread(count, visit) {
  let jump = Math.max(1, Math.round(count * 0.6180339887));
  const common = (a, b) => (b ? common(b, a % b) : a);
  while (count && common(jump, count) !== 1) jump++;
  for (let i = 0, from = 0; i < count; i++, from = (from + jump) % count) visit(i, from);
}

function spreadPositions({ count, steps: [x, y, z] }) {
  const words = new Uint16Array(STRIDE / 2 * count);
  spread(count, (i, from) => { words[4 * i] = x[from]; words[4 * i + 1] = y[from]; words[4 * i + 2] = z[from]; });
  return words;
}

// mode: height, intensity, distance from where the device was, time in the sweep, lidar, frame (age, 0 to 1).
function spreadColours(cloud, mode, { heights, device, age }) {
  const { count, low, step, steps, intensity, time } = cloud, colours = new Uint32Array(count);
  const distance = (i) => Math.hypot(...[0, 1, 2].map((axis) => low[axis] + steps[axis][i] * step[axis] - device[axis]));
  const values = [
    (i) => (low[2] + steps[2][i] * step[2] - heights[0]) / (heights[1] - heights[0]) * 255, (i) => 15.97 * Math.sqrt(intensity[i]),
    (i) => 255 - 85 * Math.log(Math.max(3, distance(i)) / 3), (i) => (time ? time[i] : 0), null, () => 255 * age,
  ];
  const valueOf = values[mode];
  if (valueOf) spread(count, (i, from) => { colours[i] = GRADIENT[Math.min(255, Math.max(0, valueOf(from))) | 0]; });
  else spread(count, (i, from) => { colours[i] = KINDS[cloud.device[from]]; });
  return colours;
}

// What colours depend on besides the cloud.
const aboutFrame = (look, index) => ({ heights: look.heights, device: look.device(index), age: look.count > 1 ? index / (look.count - 1) : 0 });

// SPDX-License-Identifier: Apache-2.0
// Poses, their interpolation, and what a correction on the bench does to a camera's pose.
// A quaternion is [x, y, z, w], Hamilton; a pose is { at: [x, y, z], turn: quaternion }.

const AXES = [
  { key: 'pitch', label: 'pitch', hint: 'about the axis to the right: positive looks up', unit: '°', most: 5, step: 0.05 },
  { key: 'yaw', label: 'yaw', hint: 'about the axis down: positive looks to the right', unit: '°', most: 5, step: 0.05 },
  { key: 'roll', label: 'roll', hint: 'about the axis ahead: positive turns clockwise', unit: '°', most: 5, step: 0.05 },
  { key: 'right', label: 'right', hint: 'moves the camera to its right', unit: 'm', most: 0.5, step: 0.01 },
  { key: 'down', label: 'down', hint: 'moves the camera down', unit: 'm', most: 0.5, step: 0.01 },
  { key: 'ahead', label: 'ahead', hint: 'moves the camera ahead', unit: 'm', most: 0.5, step: 0.01 },
  { key: 'ms', label: 'time', hint: 'added to the stamps of the images, and moves the camera along its track', unit: 'ms', most: 200, step: 1 },
];
const unchanged = () => Object.fromEntries(AXES.map(({ key }) => [key, 0]));
const isUnchanged = (change) => AXES.every(({ key }) => change[key] === 0);

function multiplied([ax, ay, az, aw], [bx, by, bz, bw]) {
  return [aw * bx + ax * bw + ay * bz - az * by, aw * by - ax * bz + ay * bw + az * bx,
    aw * bz + ax * by - ay * bx + az * bw, aw * bw - ax * bx - ay * by - az * bz];
}

function normalised(q) {
  const length = Math.hypot(...q);
  return q.map((value) => value / length);
}

const conjugated = ([x, y, z, w]) => [-x, -y, -z, w];

function rotated(q, [x, y, z]) {
  const m = rotationOf(q);
  return [m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z];
}

// Rotation matrix, rows first.
function rotationOf([x, y, z, w]) {
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
    2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
    2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
  ];
}

function composed(a, b) {
  const moved = rotated(a.turn, b.at);
  return { at: a.at.map((value, axis) => value + moved[axis]), turn: normalised(multiplied(a.turn, b.turn)) };
}

function inverted({ at, turn }) {
  const back = conjugated(turn);
  return { at: rotated(back, at).map((value) => -value), turn: back };
}

// Spherical interpolation; nearly equal rotations are interpolated straight.
function between(a, b, share) {
  let cosine = a.reduce((sum, value, i) => sum + value * b[i], 0);
  const sign = cosine < 0 ? -1 : 1;
  cosine = Math.min(1, Math.abs(cosine));
  const angle = Math.acos(cosine), sine = Math.sin(angle);
  const [from, to] = sine < 1e-6 ? [1 - share, share] : [Math.sin((1 - share) * angle) / sine, Math.sin(share * angle) / sine];
  return normalised(a.map((value, i) => from * value + sign * to * b[i]));
}

// samples: [{ ms, at, turn }], ascending. Returns the pose at a time, or null outside of what is known: nothing is extrapolated.
function poseAt(samples, ms) {
  const last = samples.length - 1, slack = 1e-3;
  if (last < 0 || ms < samples[0].ms - slack || ms > samples[last].ms + slack) return null;
  let low = 0, high = last;
  while (high - low > 1) { const middle = (low + high) >> 1; if (samples[middle].ms <= ms) low = middle; else high = middle; }
  const a = samples[low], b = samples[high], length = b.ms - a.ms;
  const share = length > 0 ? Math.min(1, Math.max(0, (ms - a.ms) / length)) : 0;
  return { at: a.at.map((value, axis) => value + share * (b.at[axis] - value)), turn: between(a.turn, b.turn, share) };
}

// What a correction does in the camera's own axes (right, down, ahead): yaw first, then pitch, then roll.
function poseOfChange(change) {
  const about = (axis, degrees) => {
    const half = degrees * Math.PI / 360, q = [0, 0, 0, Math.cos(half)];
    q[axis] = Math.sin(half);
    return q;
  };
  return { at: [change.right, change.down, change.ahead], turn: multiplied(multiplied(about(1, change.yaw), about(0, change.pitch)), about(2, change.roll)) };
}

// The change that a measured correction makes: rotation_deg is a rotation vector, shift_m and time_ms as they are.
function changeOfCorrection({ rotation_deg: vector, shift_m: shift, time_ms: ms }) {
  const angle = Math.hypot(...vector) * Math.PI / 180, length = Math.hypot(...vector) || 1, half = Math.sin(angle / 2) / length;
  const m = rotationOf([vector[0] * half, vector[1] * half, vector[2] * half, Math.cos(angle / 2)]), degrees = 180 / Math.PI;
  return {
    pitch: -Math.asin(Math.min(1, Math.max(-1, m[5]))) * degrees, yaw: Math.atan2(m[2], m[8]) * degrees, roll: Math.atan2(m[3], m[4]) * degrees,
    right: shift[0], down: shift[1], ahead: shift[2], ms,
  };
}

const poseOfImage = ({ params }) => ({
  at: ['x', 'y', 'z'].map((axis) => params.position[axis]), turn: ['x', 'y', 'z', 'w'].map((axis) => params.heading[axis]),
});

// Where the cameras and the device were, in milliseconds since the first frame.
class Tracks {
  constructor(frames) {
    this.frames = frames;
    this.device = frames.map((frame) => ({ ms: this.ms(frame.stamp_ns), at: frame.position, turn: frame.heading }));
    this.cameras = new Map();
  }

  ms(stamp) { return Number(BigInt(stamp) - BigInt(this.frames[0].stamp_ns)) / 1e6; }

  camera(name) {
    if (!this.cameras.has(name)) {
      const seen = this.frames.filter((frame) => frame.images[name]).map((frame) => frame.images[name]);
      const samples = seen.map((image) => ({ ms: this.ms(image.params.timestamp), ...poseOfImage(image) }));
      this.cameras.set(name, samples.sort((a, b) => a.ms - b.ms));
    }
    return this.cameras.get(name);
  }

  // The camera's pose for an image with a correction; null where no pose is known at the corrected time.
  corrected(name, image, change) {
    const recorded = change.ms ? poseAt(this.camera(name), this.ms(image.params.timestamp) + change.ms) : poseOfImage(image);
    return recorded && composed(recorded, poseOfChange(change));
  }

  // The camera's mount on the device: the mean over the images at whose time the device's pose is known.
  mount(name) {
    const mounts = [];
    for (const sample of this.camera(name)) {
      const device = poseAt(this.device, sample.ms);
      if (device) mounts.push(composed(inverted(device), sample));
    }
    const exact = mounts.length > 0;
    if (!exact) {
      const frame = this.frames.find((other) => other.images[name]);
      if (!frame) return null;
      mounts.push(composed(inverted({ at: frame.position, turn: frame.heading }), poseOfImage(frame.images[name])));
    }
    const first = mounts[0].turn, at = [0, 0, 0], turn = [0, 0, 0, 0];
    for (const mount of mounts) {
      const sign = mount.turn.reduce((sum, value, i) => sum + value * first[i], 0) < 0 ? -1 : 1;
      mount.at.forEach((value, axis) => { at[axis] += value / mounts.length; });
      mount.turn.forEach((value, i) => { turn[i] += sign * value; });
    }
    return { at, turn: normalised(turn), exact };
  }
}

// A correction as lines of a parameter file, below `ros__parameters`.
function configurationOf(name, change, tracks, manifest) {
  const sensor = manifest.sensors[name] ?? {}, lines = [];
  if (AXES.some(({ key }) => key !== 'ms' && change[key] !== 0)) {
    const mount = tracks.mount(name), moved = mount && composed(mount, poseOfChange(change));
    if (moved) {
      const isBody = sensor.frame_convention === 'body';
      const { at, turn } = isBody ? composed(moved, { at: [0, 0, 0], turn: BODY_IN_OPTICAL }) : moved;
      if (!mount.exact) lines.push('    # approximate: where the device was when the image was taken is not known');
      lines.push(`    # replaces how ${printable(sensor.frame_id)} was mounted`,
        `    mount_names: [${name}_corrected]`, '    mounts:', `      ${name}_corrected:`,
        `        parent_frame: ${JSON.stringify(manifest.device_frame)}`, `        child_frame: ${JSON.stringify(sensor.frame_id ?? '')}`,
        `        xyz: [${at.map((value) => value.toFixed(5)).join(', ')}]`,
        `        quaternion_xyzw: [${turn.map((value) => value.toFixed(8)).join(', ')}]`);
    }
  }
  if (change.ms) lines.push('    # on top of what is set now', `    cameras.${name}.clock_offset_ms: ${change.ms.toFixed(1)}`);
  return lines.length ? `${lines.join('\n')}\n` : '';
}

// Body axes (ahead, left, up) seen from optical ones (right, down, ahead), as rep-0103 has them.
const BODY_IN_OPTICAL = [0.5, -0.5, 0.5, 0.5];

// A name on one line of a comment.
const printable = (name) => String(name).replace(/[^\x21-\x7e]/g, '?');

// SPDX-License-Identifier: Apache-2.0
// Unpacks clouds and projects points with the camera parameters that will be uploaded.

function bytesOf(text) {
  const found = atob(text), bytes = new Uint8Array(found.length);
  for (let i = 0; i < found.length; i++) bytes[i] = found.charCodeAt(i);
  return bytes;
}

// columns: [x, y, z] as whole steps; xyz: metres, made when they are asked for.
function unpackCloud(packed, text) {
  const bytes = bytesOf(text), n = packed.count;
  const steps = [0, 1, 2].map((axis) => new Uint16Array(bytes.buffer, 2 * n * axis, n));
  const column = (number) => bytes.subarray((6 + number) * n, (7 + number) * n);
  let xyz = null;
  return {
    count: n, low: packed.low, step: packed.step, steps, intensity: column(0), device: column(1), time: packed.has_time ? column(2) : null,
    get xyz() {
      if (!xyz) {
        xyz = new Float32Array(3 * n);
        for (let axis = 0; axis < 3; axis++) {
          const from = steps[axis], low = packed.low[axis], step = packed.step[axis];
          for (let i = 0; i < n; i++) xyz[3 * i + axis] = low + from[i] * step;
        }
      }
      return xyz;
    },
  };
}

// Beyond this a distortion polynomial turns back and would draw points where they cannot be seen.
function turningPoint(bent, most) {
  const step = most / 2000;
  let before = bent(0);
  for (let value = step; value < most; value += step) {
    const now = bent(value);
    if (!(now > before)) return value - step;
    before = now;
  }
  return most;
}

// Makes the lens of an image: a function from a point in the camera's axes to pixels of the full image, which go into
// `out` as u, v and depth. It returns whether the point can be seen.
function lensOf(params) {
  const number = (name, otherwise) => Number(params[name] ?? otherwise);
  const [k1, k2, k3, k4, k5, k6, p1, p2] = ['k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'p1', 'p2'].map((name) => number(name, 0));
  const scale = number('scale_factor', 1);
  const fx = number('fx', 1) / scale, fy = number('fy', 1) / scale, skew = number('skew', 0) / scale;
  const cx = number('cx', 0) / scale, cy = number('cy', 0) / scale;
  if (params.camera_model === 'fisheye') {
    const bend = (t) => t * (1 + t * t * (k1 + t * t * (k2 + t * t * (k3 + t * t * k4))));
    const limit = turningPoint(bend, Math.PI);
    return (x, y, z, out) => {
      const r = Math.sqrt(x * x + y * y), theta = Math.atan2(r, z);
      if (theta > limit) return false;
      const share = r > 1e-9 ? bend(theta) / r : 0, a = share * x, b = share * y;
      out[0] = fx * a + skew * b + cx; out[1] = fy * b + cy; out[2] = Math.sqrt(r * r + z * z);
      return true;
    };
  }
  const isUnified = params.camera_model === 'omnidirectional', xi = isUnified ? number('xi', 0) : 0;
  const radialOf = (r2) => {
    const above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3));
    return k4 || k5 || k6 ? above / (1 + r2 * (k4 + r2 * (k5 + r2 * k6))) : above;
  };
  const limit = turningPoint((r) => r * radialOf(r * r), 20), limit2 = limit * limit;
  return (x, y, z, out) => {
    const depth = z + xi * Math.sqrt(x * x + y * y + z * z);  // the unified model sees the unit sphere from xi behind its centre
    if (isUnified ? depth <= 0 || z < -depth / xi : z < 0.05) return false;
    const u = x / depth, v = y / depth, r2 = u * u + v * v;
    if (r2 > limit2) return false;
    const radial = radialOf(r2);
    const a = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u);
    const b = v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v;
    out[0] = fx * a + skew * b + cx; out[1] = fy * b + cy; out[2] = z;
    return true;
  };
}

const lenses = new WeakMap();
function knownLens(params) {
  if (!lenses.has(params)) lenses.set(params, lensOf(params));
  return lenses.get(params);
}

// Returns a function from a point in the scene to whether it can be seen; u, v and depth go into its last argument.
function projector(params, pose) {
  const lens = knownLens(params), m = rotationOf(pose.turn), [ax, ay, az] = pose.at;
  return (px, py, pz, out) => {
    const dx = px - ax, dy = py - ay, dz = pz - az;
    return lens(m[0] * dx + m[3] * dy + m[6] * dz, m[1] * dx + m[4] * dy + m[7] * dz, m[2] * dx + m[5] * dy + m[8] * dz, out);
  };
}

// The points of a cloud that fall into an image: columns u, v (pixels), depth (metres) and number of the point.
function projectCloud(cloud, image, pose, most = Infinity) {
  const project = projector(image.params, pose), { xyz, count } = cloud, out = new Float64Array(3);
  const stride = Math.max(1, Math.ceil(count / most)), room = Math.ceil(count / stride);
  const u = new Float32Array(room), v = new Float32Array(room), depth = new Float32Array(room), number = new Uint32Array(room);
  const right = image.width - 0.5, bottom = image.height - 0.5;
  let found = 0;
  for (let i = 0; i < count; i += stride) {
    if (!project(xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2], out)) continue;
    if (!(out[0] > -0.5 && out[1] > -0.5 && out[0] < right && out[1] < bottom)) continue;
    u[found] = out[0]; v[found] = out[1]; depth[found] = out[2]; number[found++] = i;
  }
  return { count: found, u, v, depth, number };
}

// Which points lie behind nearer ones: in image cells about as wide as points are apart, those much farther than the
// nearest of the cell and its neighbours.
function hiddenBehind(seen, image) {
  const size = Math.max(2, 1.2 * Math.sqrt(image.width * image.height / Math.max(1, seen.count)));
  const columns = Math.ceil(image.width / size) + 2, rows = Math.ceil(image.height / size) + 2;
  const nearest = new Float32Array(columns * rows).fill(Infinity), hidden = new Uint8Array(seen.count);
  const cellOf = (i) => (1 + Math.floor((seen.v[i] + 0.5) / size)) * columns + 1 + Math.floor((seen.u[i] + 0.5) / size);
  for (let i = 0; i < seen.count; i++) {
    const cell = cellOf(i);
    if (seen.depth[i] < nearest[cell]) nearest[cell] = seen.depth[i];
  }
  for (let i = 0; i < seen.count; i++) {
    const cell = cellOf(i);
    const near = Math.min(nearest[cell], nearest[cell - 1], nearest[cell + 1], nearest[cell - columns], nearest[cell + columns]);
    if (seen.depth[i] > 1.1 * near + 0.5) hidden[i] = 1;
  }
  return hidden;
}

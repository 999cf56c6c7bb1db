// SPDX-License-Identifier: Apache-2.0
// Unpacks clouds and projects points with the camera parameters that will be uploaded.

function unpackCloud(packed) {
  const text = atob(packed.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const n = packed.count;
  const xyz = new Float32Array(3 * n);
  for (let axis = 0; axis < 3; axis++) {
    const column = new Uint16Array(bytes.buffer, 2 * n * axis, n);
    for (let i = 0; i < n; i++) xyz[3 * i + axis] = packed.low[axis] + column[i] * packed.step[axis];
  }
  return { count: n, xyz, intensity: bytes.subarray(6 * n, 7 * n), device: bytes.subarray(7 * n, 8 * n) };
}

// Rotation matrix, rows first, of a Hamilton quaternion.
function matrixOf(q) {
  const { x, y, z, w } = q;
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
    2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
    2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
  ];
}

// Beyond this a distortion polynomial turns back and would draw points where they cannot be seen.
function turningPoint(slope, most) {
  for (let value = 0; value < most; value += most / 2000) if (slope(value) <= 0) return value;
  return most;
}

// Returns a function from a point in the scene to [u, v, depth] in pixels of the full image, or null behind the camera.
function projector(params) {
  const number = (name, otherwise) => Number(params[name] ?? otherwise);
  const [k1, k2, k3, k4, p1, p2] = ['k1', 'k2', 'k3', 'k4', 'p1', 'p2'].map((name) => number(name, 0));
  const scale = number('scale_factor', 1);
  const fx = number('fx', 1) / scale, fy = number('fy', 1) / scale, skew = number('skew', 0) / scale;
  const cx = number('cx', 0) / scale, cy = number('cy', 0) / scale;
  const m = matrixOf(params.heading), at = params.position;
  const isFisheye = params.camera_model === 'fisheye', isUnified = params.camera_model === 'omnidirectional';
  const xi = isUnified ? number('xi', 0) : 0;
  const limit = isFisheye
    ? turningPoint((t) => 1 + 3 * k1 * t ** 2 + 5 * k2 * t ** 4 + 7 * k3 * t ** 6 + 9 * k4 * t ** 8, Math.PI)
    : turningPoint((r) => 1 + 3 * k1 * r ** 2 + 5 * k2 * r ** 4 + 7 * k3 * r ** 6, 20);
  return (px, py, pz) => {
    const dx = px - at.x, dy = py - at.y, dz = pz - at.z;
    const x = m[0] * dx + m[3] * dy + m[6] * dz;
    const y = m[1] * dx + m[4] * dy + m[7] * dz;
    const z = m[2] * dx + m[5] * dy + m[8] * dz;
    let a, b;
    if (isFisheye) {
      const r = Math.hypot(x, y), theta = Math.atan2(r, z), t2 = theta * theta;
      if (theta > limit) return null;
      const bent = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))));
      a = r > 1e-9 ? (bent * x) / r : 0;
      b = r > 1e-9 ? (bent * y) / r : 0;
    } else {
      const depth = z + xi * Math.hypot(x, y, z);  // the unified model sees the unit sphere from xi behind its centre
      if (isUnified ? depth <= 0 || z < -depth / xi : z < 0.05) return null;
      const u = x / depth, v = y / depth, r2 = u * u + v * v;
      if (r2 > limit * limit) return null;
      const radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3));
      a = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u);
      b = v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v;
    }
    return [fx * a + skew * b + cx, fy * b + cy, isFisheye ? Math.hypot(x, y, z) : z];
  };
}

// All points of a cloud that fall into an image, as [u, v, depth].
function projectCloud(cloud, image) {
  const project = projector(image.params), found = [];
  for (let i = 0; i < cloud.count; i++) {
    const pixel = project(cloud.xyz[3 * i], cloud.xyz[3 * i + 1], cloud.xyz[3 * i + 2]);
    if (pixel && pixel[0] > -0.5 && pixel[1] > -0.5 && pixel[0] < image.width - 0.5 && pixel[1] < image.height - 0.5) found.push(pixel);
  }
  return found;
}

// A rainbow from blue (0) over green to red (1); the shader has the same one.
function rainbow(t) {
  const part = (shift) => Math.round(255 * Math.min(1, Math.max(0.15, 1.5 - Math.abs(3.2 * t + 0.4 - shift))));
  return [part(3), part(2), part(1)];
}

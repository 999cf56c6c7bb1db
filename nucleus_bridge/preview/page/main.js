// SPDX-License-Identifier: Apache-2.0
// Puts the page together and answers to mouse and keyboard.

const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const frames = data.frames, manifest = data.manifest;
const clouds = new Map();
const cloudOf = (i) => { if (!clouds.has(i)) clouds.set(i, unpackCloud(frames[i].cloud)); return clouds.get(i); };
const lagOf = (frame, camera) => {
  const image = frame.images[camera];
  return image && image.params.timestamp ? Number(BigInt(image.params.timestamp) - BigInt(frame.stamp_ns)) / 1e6 : null;
};

function heightsOf(cloud) {
  const heights = Array.from({ length: cloud.count }, (_, i) => cloud.xyz[3 * i + 2]).sort((a, b) => a - b);
  const low = heights[Math.floor(heights.length * 0.02)] ?? 0, high = heights[Math.floor(heights.length * 0.97)] ?? 1;
  return [low, Math.max(high, low + 1)];
}

const look = {
  count: frames.length, frame: 0, world: false, mode: 0, size: 2, heights: heightsOf(cloudOf(0)), cloud: cloudOf,
  home() {
    const cloud = cloudOf(this.frame), at = frames[this.frame].position, distances = [];
    for (let i = 0; i < cloud.count; i += 7) distances.push(Math.hypot(cloud.xyz[3 * i] - at[0], cloud.xyz[3 * i + 1] - at[1]));
    distances.sort((a, b) => a - b);
    return { centre: at, reach: Math.min(80, Math.max(8, distances[Math.floor(distances.length * 0.85)] || 30)) };
  },
  behind() {
    const m = headingMatrix(this.frame), ahead = data.checks.forward_deg * Math.PI / 180, c = Math.cos(ahead), s = Math.sin(ahead);
    return Math.atan2(m[3] * c + m[4] * s, m[0] * c + m[1] * s);
  },
  lines() {
    const at = [], tint = [];
    const line = (a, b, colour) => { at.push(...a, ...b); tint.push(...colour, ...colour); };
    frames.forEach((frame, i) => { if (i) line(frames[i - 1].position, frame.position, [1, 1, 1]); });
    frames.forEach((frame, i) => axes(i, i === this.frame ? 2.5 : 0.6, line, i === this.frame));
    for (const camera of data.cameras) if (frames[this.frame].images[camera]) frustum(frames[this.frame].images[camera].params, line);
    labelLines(this.frame, line);
    return { at, tint };
  },
};

function headingMatrix(i) {
  const [x, y, z, w] = frames[i].heading;
  return matrixOf({ x, y, z, w });
}

function axes(i, length, line, all) {
  const m = headingMatrix(i), from = frames[i].position;
  const end = (axis) => [0, 1, 2].map((row) => from[row] + length * m[3 * row + axis]);
  line(from, end(0), [1, 0.3, 0.3]);
  if (all) { line(from, end(1), [0.3, 1, 0.3]); line(from, end(2), [0.4, 0.6, 1]); }
}

function frustum(params, line) {
  const m = matrixOf(params.heading), { x, y, z } = params.position, colour = [1, 0.85, 0.3];
  const wide = Math.min(1.5, Number(params.cx) / Number(params.fx)), high = Math.min(1.5, Number(params.cy) / Number(params.fy));
  const corners = [[-wide, -high], [wide, -high], [wide, high], [-wide, high]].map(([a, b]) =>
    [x, y, z].map((start, row) => start + m[3 * row] * a + m[3 * row + 1] * b + m[3 * row + 2]));
  corners.forEach((corner, i) => { line([x, y, z], corner, colour); line(corner, corners[(i + 1) % 4], colour); });
}

const view3d = new CloudView(byId('view3d'), look, false), viewTop = new CloudView(byId('viewTop'), look, true);
const cards = new Map(data.cameras.map((camera) => [camera, new CameraCard(camera, byId('cameras'))]));
const options = { overlay: true, size: 3, near: 3, far: 60 };
const marks = [];
let playing = null;

function redraw() { view3d.draw(); viewTop.draw(); }

function showImages() {
  const frame = frames[look.frame];
  return Promise.all([...cards].map(([camera, card]) => {
    const lag = lagOf(frame, camera);
    return card.show(frame.images[camera], cloudOf(look.frame), lag === null ? '?' : lag.toFixed(1), options)
      .then(() => { if (frame === frames[look.frame]) paintLabels(card.canvas, frame.images[camera], look.frame); });
  }));
}

// Moves the views with the device, so that playing follows it.
function setFrame(i) {
  const next = Math.min(frames.length - 1, Math.max(0, Math.round(Number(i)) || 0)), frame = frames[next];
  const step = [0, 1, 2].map((axis) => frame.position[axis] - frames[look.frame].position[axis]);
  if (!look.world) for (const view of [view3d, viewTop]) step.forEach((metres, axis) => { view.target[axis] += metres; });
  look.frame = next;
  byId('frame').value = next;
  const seconds = Number(BigInt(frame.stamp_ns) - BigInt(frames[0].stamp_ns)) / 1e9;
  byId('frameLabel').textContent = `${next + 1} of ${frames.length}, ${seconds.toFixed(2)} s`;
  byId('frameLabel').title = `${frame.stamp_ns} ns, ${frame.points} points${frame.gps ? `, ${frame.gps.lat}, ${frame.gps.lon}, bearing ${frame.gps.bearing}` : ''}`;
  for (const mark of marks) mark(next);
  redraw();
  return showImages();
}

function play() {
  if (playing) { clearInterval(playing); playing = null; } else {
    playing = setInterval(() => setFrame((look.frame + 1) % frames.length), 150);
  }
  byId('play').textContent = playing ? '❚❚ stop' : '▶ play';
}

function toggleTheme() {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
}

function header() {
  const seconds = Number(BigInt(frames[frames.length - 1].stamp_ns) - BigInt(frames[0].stamp_ns)) / 1e9;
  byId('title').textContent = manifest.reference_id;
  byId('summary').textContent = `${manifest.frames} frames in ${seconds.toFixed(1)} s, ${data.cameras.length} cameras, ${manifest.points.toLocaleString('en')} points (the page shows ${frames.reduce((sum, frame) => sum + frame.cloud.count, 0).toLocaleString('en')}), ${manifest.device_frame} in ${manifest.world_frame}`;
  for (const { about, text } of data.checks.warnings) {
    const note = element('span', `⚠ ${about}: ${text}`);
    note.className = 'check';
    byId('checks').append(note);
  }
  if (!data.checks.warnings.length) {
    const note = element('span', `✓ ${data.cameras.length ? 'nothing unlikely about the cameras was found, ' : ''}nothing was lost`);
    note.className = 'check good';
    byId('checks').append(note);
  }
}

function listen() {
  byId('frame').max = frames.length - 1;
  byId('frame').addEventListener('input', (event) => setFrame(event.target.value));
  byId('previous').addEventListener('click', () => setFrame(look.frame - 1));
  byId('next').addEventListener('click', () => setFrame(look.frame + 1));
  byId('play').addEventListener('click', play);
  byId('theme').addEventListener('click', toggleTheme);
  byId('colour').addEventListener('change', (event) => { look.mode = Number(event.target.value); redraw(); });
  byId('world').addEventListener('change', (event) => { look.world = event.target.checked; redraw(); });
  byId('cloudSize').addEventListener('input', (event) => { look.size = Number(event.target.value); redraw(); });
  byId('overlay').addEventListener('change', (event) => { options.overlay = event.target.checked; showImages(); });
  byId('overlaySize').addEventListener('input', (event) => { options.size = Number(event.target.value); showImages(); });
  const keys = {
    ArrowLeft: () => setFrame(look.frame - 1), ArrowRight: () => setFrame(look.frame + 1), Home: () => setFrame(0),
    End: () => setFrame(frames.length - 1), ' ': play, p: () => byId('overlay').click(), w: () => byId('world').click(), d: toggleTheme,
    c: () => { byId('colour').value = (look.mode + 1) % 4; byId('colour').dispatchEvent(new Event('change')); },
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === 'SELECT' || !(event.key in keys)) return;
    if (event.key === ' ' && event.target.tagName === 'BUTTON') return;
    event.preventDefault();
    keys[event.key]();
  });
  window.addEventListener('resize', redraw);
}

header();
listen();
labelLegend(byId('controls'), () => { redraw(); showImages(); });
const frameEnds = ['frame 1', String(frames.length)];
marks.push(linePlot(byId('plotSync'), Object.fromEntries(data.cameras.map((camera) => [camera, frames.map((frame) => lagOf(frame, camera))])), 1, frameEnds));
marks.push(linePlot(byId('plotPoints'), { [data.lidar]: frames.map((frame) => frame.points) }, 0, frameEnds));
const shifts = data.checks.edges.shifts_ms;
linePlot(byId('plotEdges'), data.checks.edges.curves, 2, [`${shifts[0]} ms`, `${shifts[shifts.length - 1]} ms`], false)((shifts.length - 1) / 2);
rigPlot(byId('plotRig'), data.checks.views, data.checks.forward_deg);
losses(byId('plotLosses'), manifest);
facts(byId('manifest'), manifest, data.bytes);
window.nucleusPreview = {
  get frame() { return look.frame; },
  get frames() { return frames.length; },
  cameras: data.cameras,
  setFrame,
  projected(camera) {
    const image = frames[look.frame].images[camera];
    return image ? projectCloud(cloudOf(look.frame), image) : [];
  },
};
window.nucleusPreview.labelSegments = (camera) => labelSegments(look.frame, frames[look.frame].images[camera]);
window.nucleusPreview.ready = setFrame(0);

// SPDX-License-Identifier: Apache-2.0
// Puts the page together and answers to mouse and keyboard.

const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const frames = data.frames, manifest = data.manifest;
const clouds = new Map(), arrival = new Arrival(frames.length, data.first);
const cloudOf = (i) => { if (!clouds.has(i)) clouds.set(i, unpackCloud(frames[i].cloud, arrival.parts(i).cloud)); return clouds.get(i); };
const lagOf = (frame, camera) => {
  const image = frame.images[camera];
  return image && image.params.timestamp ? Number(BigInt(image.params.timestamp) - BigInt(frame.stamp_ns)) / 1e6 : null;
};

function heightsOf(cloud) {
  const stride = Math.max(1, Math.floor(cloud.count / 4000)), heights = [];
  for (let i = 0; i < cloud.count; i += stride) heights.push(cloud.low[2] + cloud.steps[2][i] * cloud.step[2]);
  heights.sort((a, b) => a - b);
  const low = heights[Math.floor(heights.length * 0.02)] ?? 0, high = heights[Math.floor(heights.length * 0.97)] ?? 1;
  return [low, Math.max(high, low + 1)];
}

const look = {
  count: frames.length, frame: data.first, world: false, mode: 0, size: 2, fade: 0, heights: heightsOf(cloudOf(data.first)), cloud: cloudOf, has: (i) => arrival.has(i),
  device(i) { return frames[i].position; },
  home() {
    const cloud = cloudOf(this.frame), at = frames[this.frame].position, distances = [];
    for (let i = 0; i < cloud.count; i += 7) distances.push(Math.hypot(...[0, 1].map((axis) => cloud.low[axis] + cloud.steps[axis][i] * cloud.step[axis] - at[axis])));
    distances.sort((a, b) => a - b);
    return { centre: at, reach: Math.min(80, Math.max(8, distances[Math.floor(distances.length * 0.85)] || 30)) };
  },
  behind() {
    const m = rotationOf(frames[this.frame].heading), ahead = data.checks.forward_deg * Math.PI / 180, c = Math.cos(ahead), s = Math.sin(ahead);
    return Math.atan2(m[3] * c + m[4] * s, m[0] * c + m[1] * s);
  },
  lines() {
    const at = [], tint = [];
    const line = (a, b, colour) => { at.push(...a, ...b); tint.push(...colour, ...colour); };
    frames.forEach((frame, i) => axes(i, i === this.frame ? 2.5 : 0.6, line, i === this.frame));
    for (const track of [...trajectories].reverse()) if (track.shown) for (const [a, b] of track.strokes) line(a, b, track.tint);
    for (const camera of data.cameras) {
      const image = frames[this.frame].images[camera], pose = image && tracks.corrected(camera, image, bench.shown(camera));
      if (pose) frustum(image.params, pose, line);
    }
    for (const layer of layers) if (layer.shown && layer.inScene) layer.inScene(line, this.frame);
    return { at, tint };
  },
};

function axes(i, length, line, all) {
  const m = rotationOf(frames[i].heading), from = frames[i].position;
  const end = (axis) => [0, 1, 2].map((row) => from[row] + length * m[3 * row + axis]);
  line(from, end(0), [0.9, 0.62, 0]);
  if (all) { line(from, end(1), [0, 0.62, 0.45]); line(from, end(2), [0.34, 0.71, 0.91]); }
}

function frustum(params, pose, line) {
  const m = rotationOf(pose.turn), colour = [0.94, 0.89, 0.26];
  const wide = Math.min(1.5, Number(params.cx) / Number(params.fx)), high = Math.min(1.5, Number(params.cy) / Number(params.fy));
  const corners = [[-wide, -high], [wide, -high], [wide, high], [-wide, high]].map(([a, b]) =>
    pose.at.map((start, row) => start + m[3 * row] * a + m[3 * row + 1] * b + m[3 * row + 2]));
  corners.forEach((corner, i) => { line(pose.at, corner, colour); line(corner, corners[(i + 1) % 4], colour); });
}

const trajectories = data.tracks.map((track, i) => trajectoryOf(track, i, frames));
const tracks = new Tracks(frames), pictures = new Pictures(frames, arrival);
const options = { overlay: true, size: 3, near: 3, far: 60, colour: 'depth', fade: 0, hides: false };
const scene = { frames, arrival, manifest, cloud: cloudOf, pictures, tracks, options, heights: look.heights, verdicts: data.checks.calibration ?? {} };
const bench = new Bench(scene, { setFrame, frame: () => look.frame, changed: () => { redraw(); showImages(); } }, data.cameras);
const view3d = new CloudView(byId('view3d'), look, false), viewTop = new CloudView(byId('viewTop'), look, true);
const cards = new Map(data.cameras.map((camera) => [camera, new CameraCard(scene, camera, byId('cameras'), scene.verdicts[camera], (name) => bench.open(name))]));
const marks = [];
let playing = null, wanted = 0;

// The way of the device, on the images: it lies on the road where pose and calibration are right.
addLayer({
  name: 'track', title: 'track', shown: false,
  onImage(pen, frame) {
    frames.forEach((next, i) => { if (i) pen.line(frames[i - 1].position, next.position, i > frame ? '#F0E442' : '#999999', 2); });
  },
});

function redraw() { view3d.draw(); viewTop.draw(); }

function showImages() {
  const frame = frames[look.frame];
  return Promise.all([...cards].map(([camera, card]) => {
    const lag = lagOf(frame, camera);
    return card.show(look.frame, lag === null ? '?' : lag.toFixed(1), bench.shown(camera));
  }).concat(bench.isOpen ? [bench.draw()] : []));
}

// Moves the views with the device, so that playing follows it.
async function setFrame(i) {
  const next = Math.min(frames.length - 1, Math.max(0, Math.round(Number(i)) || 0)), frame = frames[next];
  wanted = next;
  if (!arrival.has(next)) {
    await arrival.of(next);
    if (wanted !== next) return undefined;
  }
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

function header() {
  const seconds = Number(BigInt(frames[frames.length - 1].stamp_ns) - BigInt(frames[0].stamp_ns)) / 1e9;
  byId('title').textContent = manifest.reference_id;
  byId('summary').textContent = `${manifest.frames} frames in ${seconds.toFixed(1)} s, ${data.cameras.length} cameras, ${manifest.points.toLocaleString('en')} points (the page shows ${frames.reduce((sum, frame) => sum + frame.cloud.count, 0).toLocaleString('en')}), ${manifest.device_frame} in ${manifest.world_frame}`;
  for (const { about, text, remedy } of data.checks.warnings) {
    const note = element('span', `⚠ ${about}: ${text}`);
    note.className = 'check';
    if (remedy) note.title = remedy;
    byId('checks').append(note);
  }
  if (!data.checks.warnings.length) {
    const note = element('span', `✓ ${data.checks.fine ? `${data.checks.fine}, ` : ''}nothing was lost`);
    note.className = 'check good';
    byId('checks').append(note);
  }
}

function layerControls() {
  for (const layer of layers) {
    const box = element('input');
    box.type = 'checkbox'; box.checked = layer.shown; box.id = layer.id ?? `layer-${layer.name}`;
    box.addEventListener('change', () => { layer.shown = box.checked; redraw(); showImages(); });
    byId('imageControls').append(element('label', '', box, ` ${layer.title}`, ...(layer.legend ?? [])));
  }
}

function listen() {
  const on = (id, event, action) => byId(id).addEventListener(event, action);
  byId('frame').max = frames.length - 1;
  on('frame', 'input', (event) => setFrame(event.target.value));
  on('previous', 'click', () => setFrame(look.frame - 1));
  on('next', 'click', () => setFrame(look.frame + 1));
  on('play', 'click', play);
  on('theme', 'click', toggleTheme);
  on('help', 'click', toggleHelp);
  on('helpClose', 'click', toggleHelp);
  on('colour', 'change', (event) => { look.mode = Number(event.target.value); redraw(); });
  on('world', 'change', (event) => { look.world = event.target.checked; redraw(); });
  on('cloudSize', 'input', (event) => { look.size = Number(event.target.value); redraw(); });
  on('cloudFade', 'input', (event) => { look.fade = Number(event.target.value); redraw(); });
  on('overlay', 'change', (event) => { options.overlay = event.target.checked; showImages(); });
  on('overlaySize', 'input', (event) => { options.size = Number(event.target.value); showImages(); });
  on('imageColour', 'change', (event) => { options.colour = event.target.value; showImages(); });
  on('imageFade', 'input', (event) => { options.fade = Number(event.target.value); showImages(); });
  on('hides', 'change', (event) => { options.hides = event.target.checked; showImages(); });
  const choose = (id) => { const select = byId(id), usable = [...select.options].filter((option) => !option.disabled); select.value = usable[(usable.indexOf(select.selectedOptions[0]) + 1) % usable.length].value; select.dispatchEvent(new Event('change')); };
  const keys = {
    ArrowLeft: () => setFrame(look.frame - 1), ArrowRight: () => setFrame(look.frame + 1), Home: () => setFrame(0),
    End: () => setFrame(frames.length - 1), ' ': play, p: () => byId('overlay').click(), w: () => byId('world').click(), d: toggleTheme,
    c: () => choose('colour'), i: () => choose('imageColour'), o: () => byId('hides').click(), '?': toggleHelp,
    e: () => { if (data.cameras.length && !bench.isOpen) bench.open(data.cameras[0]); },
  };
  const slides = ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End'];
  document.addEventListener('keydown', (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.tagName === 'SELECT') return;
    if (key === 'Escape' && !byId('helpText').hidden) { toggleHelp(); return; }
    if (target.tagName === 'TEXTAREA' && key !== 'Escape') return;
    if (target.type === 'number' && key !== 'Escape') return;
    if (target.type === 'range' && target.id !== 'frame' && slides.includes(key)) return;
    if (key === ' ' && (target.tagName === 'BUTTON' || target.type === 'checkbox')) return;
    if (bench.isOpen && bench.key(event)) { event.preventDefault(); return; }
    if (!Object.hasOwn(keys, key)) return;
    event.preventDefault();
    keys[key]();
  });
  window.addEventListener('resize', () => { redraw(); showImages(); });
  window.addEventListener('beforeprint', () => { view3d.paint(); viewTop.paint(); });
}

function toggleHelp() {
  const help = byId('helpText');
  help.hidden = !help.hidden;
  if (!help.hidden) byId('helpClose').focus(); else byId('help').focus();
}

// Offers only the colours that the scene has the columns for.
function offerColours() {
  if (!frames.some((frame) => frame.cloud.has_time)) {
    for (const option of [byId('colour').options[3], [...byId('imageColour').options].find(({ value }) => value === 'time')]) {
      option.disabled = true;
      option.textContent += ' (not in the scene)';
    }
  }
}

header();
layerControls();
trajectoryLegend(byId('tracks'), trajectories, redraw);
offerColours();
listen();
const frameEnds = ['frame 1', String(frames.length)];
marks.push(linePlot(byId('plotSync'), Object.fromEntries(data.cameras.map((camera) => [camera, frames.map((frame) => lagOf(frame, camera))])), 1, frameEnds));
marks.push(linePlot(byId('plotPoints'), { [data.lidar]: frames.map((frame) => frame.points) }, 0, frameEnds));
const shifts = data.checks.edges.shifts_ms;
linePlot(byId('plotEdges'), data.checks.edges.curves, 2, [`${shifts[0]} ms`, `${shifts[shifts.length - 1]} ms`], false)((shifts.length - 1) / 2);
rigPlot(byId('plotRig'), data.checks.views, data.checks.forward_deg);
losses(byId('plotLosses'), manifest);
sharpness(byId('sharpness'), data.checks.sharpness);
facts(byId('manifest'), manifest, data.bytes);
window.nucleusPreview = {
  get frame() { return look.frame; },
  get frames() { return frames.length; },
  get drawn() { return view3d.drawn; },
  cameras: data.cameras,
  setFrame,
  arrived() { arrival.finish(); if (look.world) redraw(); },
  whole: arrival.whole,
  bench, look, view3d, viewTop, options, layers, trajectories,
  projected(camera) {
    const image = frames[look.frame].images[camera], pose = image && tracks.corrected(camera, image, bench.shown(camera));
    const seen = pose && projectCloud(cloudOf(look.frame), image, pose);
    return seen ? Array.from({ length: seen.count }, (_, i) => [seen.u[i], seen.v[i], seen.depth[i]]) : [];
  },
  labelSegments(camera) { const image = frames[look.frame].images[camera]; return labelSegments(look.frame, image.params, tracks.corrected(camera, image, bench.shown(camera))); },
  corrected(camera) { return tracks.corrected(camera, frames[look.frame].images[camera], bench.shown(camera)); },
  hidden(camera) {
    const image = frames[look.frame].images[camera], seen = projectCloud(cloudOf(look.frame), image, tracks.corrected(camera, image, bench.shown(camera)));
    return Array.from(hiddenBehind(seen, image));
  },
};
window.nucleusPreview.ready = setFrame(data.first);
